-- Renew the leases of a request that is still running.
--
-- KEYS    the reservation, the index of reservations
-- ARGV    request id, lease in ms
-- Returns 1, or 0 when there is no such reservation any more

local row = redis.call('GET', KEYS[1])
if not row or row == 'settled' or row == 'swept' then
  return 0
end
local time = redis.call('TIME')
local lease = tonumber(ARGV[2])
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + lease
redis.call('ZADD', KEYS[2], 'XX', ends, ARGV[1])
local charges = cmsgpack.unpack(row)
for index = 2, #charges do
  local kind, key = unpack(charges[index], 1, 2)
  if kind == 'c' then
    redis.call('ZADD', key, 'XX', ends, ARGV[1])
    redis.call('PEXPIRE', key, lease * 2)
  end
end
return 1
