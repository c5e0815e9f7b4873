-- End a reservation: give its leases back and append its usage event, in one step and once only.
--
-- KEYS    the usage stream, then the lease sets of the reservation
-- ARGV    request id, how long to remember that it is settled in ms, the event ('' to release without one)
-- Returns 1 when settled now, 0 when it was settled before

local reservation = 'tollgate:reservation:' .. ARGV[1]
if not redis.call('SET', reservation, 'settled', 'PX', ARGV[2], 'NX') then
  if redis.call('GET', reservation) == 'settled' then
    return 0
  end
  redis.call('SET', reservation, 'settled', 'PX', ARGV[2]) -- the version before marked it as held
end
for index = 2, #KEYS do
  redis.call('ZREM', KEYS[index], ARGV[1])
end
if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[1], '*', 'event', ARGV[3])
end
return 1
