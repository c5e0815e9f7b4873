-- Renew the leases of a request that is still running.
--
-- KEYS    its lease sets
-- ARGV    request id, lease in ms

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[2])
for index = 1, #KEYS do
  redis.call('ZADD', KEYS[index], 'XX', now + lease, ARGV[1])
  redis.call('PEXPIRE', KEYS[index], lease * 2)
end
return 1
