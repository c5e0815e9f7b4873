-- Put a reservation that was made ahead down to the request that takes it.
--
-- KEYS    the reservation, that of the request, the index of reservations
-- ARGV    the reservation's id, request id, lease in ms, the usage event if it is swept
-- Returns 1, or 0 when there is no such reservation any more, or the request has one

local row = redis.call('GET', KEYS[1])
if not row or row == 'settled' or row == 'swept' or redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
local time = redis.call('TIME')
local lease = tonumber(ARGV[3])
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + lease
local charges = cmsgpack.unpack(row)
charges[1] = ARGV[4]
for index = 2, #charges do
  local kind, key = unpack(charges[index], 1, 2)
  if kind == 'c' then
    redis.call('ZREM', key, ARGV[1])
    redis.call('ZADD', key, ends, ARGV[2])
    redis.call('PEXPIRE', key, lease * 2)
  end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SET', KEYS[2], cmsgpack.pack(charges))
redis.call('ZADD', KEYS[3], ends, ARGV[2])
return 1
