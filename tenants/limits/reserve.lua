-- Admit one request under all of its limits, or under none: every limit is checked before the first one is charged.
--
-- KEYS    one per rule: a hash for a rate of requests, a sorted set of leases for concurrency
-- ARGV    request id, lease in ms, then per rule: kind (r or c), amount, window in ms, burst (0: none)
-- Returns {1, rule, remaining, reset in ms} when admitted: the tightest rate, rule 0 when there is none
--         {0, rule, remaining (0), retry after in ms} when refused
--
-- A rate slides: the count of the window before fades out as the current one goes on. A burst is a token bucket (GCRA)
-- on top. The clock is Valkey's own.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, lease = ARGV[1], tonumber(ARGV[2])
local charges = {}
local tightest, tightest_remaining, tightest_reset = 0, nil, 0

for rule = 1, #KEYS do
  local base = 3 + (rule - 1) * 4
  local amount = tonumber(ARGV[base + 1])
  if ARGV[base] == 'c' then
    redis.call('ZREMRANGEBYSCORE', KEYS[rule], '-inf', now)
    if redis.call('ZCARD', KEYS[rule]) >= amount then
      return {0, rule, 0, 1000}
    end
  else
    local window, burst = tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
    local state = redis.call('HMGET', KEYS[rule], 'index', 'count', 'before', 'tat')
    local index = math.floor(now / window)
    local seen, count, before = tonumber(state[1] or 0), tonumber(state[2] or 0), tonumber(state[3] or 0)
    if seen == index - 1 then
      before, count = count, 0
    elseif seen ~= index then
      before, count = 0, 0
    end
    local elapsed = now - index * window
    local used = count + before * (window - elapsed) / window
    if used + 1 > amount then
      -- Wait until the window before has faded enough, or, when this one is full by itself, for the next one.
      local wait = window - elapsed
      if before > 0 and count + 1 <= amount then
        wait = math.ceil(window - (amount - 1 - count) * window / before - elapsed)
      elseif count > 0 then
        wait = wait + math.ceil(math.max(0, window - (amount - 1) * window / count))
      end
      return {0, rule, 0, math.max(wait, 1)}
    end
    local tat = nil
    if burst > 0 then
      local interval = window / amount
      tat = math.max(tonumber(state[4] or 0), now)
      local early = tat - now - (burst - 1) * interval
      if early > 0 then
        return {0, rule, 0, math.ceil(early)}
      end
      tat = tat + interval
    end
    charges[rule] = {index, count + 1, before, tat, window}
    local remaining = math.floor(amount - used - 1)
    if tightest_remaining == nil or remaining < tightest_remaining then
      tightest, tightest_remaining, tightest_reset = rule, remaining, window - elapsed
    end
  end
end

for rule = 1, #KEYS do
  local charge = charges[rule]
  if charge == nil then
    redis.call('ZADD', KEYS[rule], now + lease, id)
    redis.call('PEXPIRE', KEYS[rule], lease * 2)
  else
    redis.call('HSET', KEYS[rule], 'index', charge[1], 'count', charge[2], 'before', charge[3])
    if charge[4] then
      redis.call('HSET', KEYS[rule], 'tat', string.format('%.3f', charge[4]))
    end
    redis.call('PEXPIRE', KEYS[rule], charge[5] * 2)
  end
end
redis.call('SET', 'tollgate:reservation:' .. id, 'held', 'PX', lease)
return {1, tightest, tightest_remaining or 0, tightest_reset}
