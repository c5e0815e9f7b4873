-- Gives back a half-open slot, unless it has run out and another worker has it.
-- KEYS: slot; ARGV: worker
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
