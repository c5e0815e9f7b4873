-- Let a body wait for the drain, unless too much waits already: bodies are worth less than what else Valkey holds.
--
-- KEYS    the stream
-- ARGV    the most entries, the most bytes, the body (encrypted)
-- Returns whether it waits.

if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
if (redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 5) or 0) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('XADD', KEYS[1], '*', 'body', ARGV[3])
return 1
