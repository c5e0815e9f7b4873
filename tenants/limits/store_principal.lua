-- Cache a principal unless something changed since it was read: a write in flight must not undo a revocation.
--
-- KEYS    the generation counter, the principal's key
-- ARGV    the generation at which it was read, the principal, its time to live in ms

if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
