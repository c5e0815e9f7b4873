-- Read budgets' counters as of one entry of the usage stream, so that they can be compared with what the ledger says.
--
-- KEYS    the usage stream, the mark that budgets are counted, then the budgets' hashes
-- ARGV    the id of the stream's last entry as the caller knows it, 1 to set the mark, then per hash the slot
-- Returns nothing when there is a later entry by now, else the value of each slot

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if (last and last[1] or '0-0') ~= ARGV[1] then
  return false
end
if ARGV[2] == '1' then
  redis.call('SET', KEYS[2], '1')
end
local values = {}
for index = 3, #KEYS do
  values[index - 2] = redis.call('HGET', KEYS[index], ARGV[index]) or '0'
end
return values
