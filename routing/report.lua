-- Keep a worker's report, note that it lives, and forget those that fell silent; returns how many live.
-- KEYS: the set of workers, this worker's report. ARGV: the worker, its report, how many seconds it holds.
local seconds = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('SET', KEYS[2], ARGV[2], 'EX', seconds)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - seconds)
return redis.call('ZCARD', KEYS[1])
