-- End the reservations that nobody has renewed: give back what they hold, and tell the ledger that they were lost.
--
-- KEYS    the index of reservations, the usage stream
-- ARGV    how many at most, how long to remember that one was swept in ms
-- Returns how many were swept
--
-- One that no request has taken yet (adopt.lua) has no event: the ledger does not hear of it.
-- A request that settles after all finds out, and its event replaces the one that is appended here.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local swept = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local reservation = 'tollgate:reservation:' .. id
  local row = redis.call('GET', reservation)
  redis.call('ZREM', KEYS[1], id)
  if row and row ~= 'settled' and row ~= 'swept' then
    local charges = cmsgpack.unpack(row)
    for index = 2, #charges do
      local kind, key, hold = unpack(charges[index], 1, 3)
      if kind == 'c' then
        redis.call('ZREM', key, id)
      elseif hold ~= '0' then
        redis.call('HINCRBY', key, 'held', '-' .. hold)
      end
    end
    redis.call('SET', reservation, 'swept', 'PX', ARGV[2])
    if charges[1] ~= '' then
      redis.call('XADD', KEYS[2], '*', 'event', charges[1])
    end
    swept = swept + 1
  end
end
return swept
