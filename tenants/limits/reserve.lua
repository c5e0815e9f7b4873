-- Admit one request under all of its limits, or under none: every limit is checked before the first one is charged.
--
-- KEYS    one per rule: a hash for a rate of requests, a sorted set of leases for concurrency
-- ARGV    request id, lease in ms, then per rule: kind (r or c), amount, window in ms, burst (0: none)
-- Returns {1, rule, remaining, reset in ms} when admitted: the tightest rate, rule 0 when there is none
--         {0, rule, remaining (0), retry after in ms} when refused
--
-- A rate slides: a window is counted in slots, and a slot counts until all of it has left the window. So no window,
-- wherever it begins, holds more than the amount, and what was used is free again a twentieth of a window late at most.
-- A burst is a token bucket (GCRA) on top. The clock is Valkey's own.

local SLOTS = 20

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, lease = ARGV[1], tonumber(ARGV[2])

-- Read what a rate's hash holds: the count of each slot that still counts, their sum, the fields that are of no use any
-- more (old slots, and those of another window that the rule had before), the burst's theoretical arrival time.
local function read_rate(key, slot)
  local counts, used, stale, tat = {}, 0, {}, 0
  local state = redis.call('HGETALL', key)
  for field = 1, #state, 2 do
    local number, value = tonumber(state[field]), tonumber(state[field + 1])
    if state[field] == 'tat' then
      tat = value
    elseif number and number >= slot - SLOTS and number <= slot then
      counts[number], used = value, used + value
    else
      stale[#stale + 1] = state[field]
    end
  end
  return counts, used, stale, tat
end

-- Return when enough of the oldest slots have left the window for one more request, in ms from now.
local function wait_for_room(counts, excess, slot, length)
  for number = slot - SLOTS, slot do
    excess = excess - (counts[number] or 0)
    if excess <= 0 then
      return math.max(1, math.ceil((number + SLOTS + 1) * length - now))
    end
  end
  return SLOTS * length
end

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
    local length = window / SLOTS
    local slot = math.floor(now / length)
    local counts, used, stale, tat = read_rate(KEYS[rule], slot)
    if used + 1 > amount then
      return {0, rule, 0, wait_for_room(counts, used + 1 - amount, slot, length)}
    end
    local next_tat = nil
    if burst > 0 then
      local interval = window / amount
      tat = math.max(tat, now)
      local early = tat - now - (burst - 1) * interval
      if early > 0 then
        return {0, rule, 0, math.ceil(early)}
      end
      next_tat = tat + interval
    end
    charges[rule] = {slot, next_tat, window, stale, counts[slot] == nil}
    local remaining = amount - used - 1
    if tightest_remaining == nil or remaining < tightest_remaining then
      tightest, tightest_remaining = rule, remaining
      tightest_reset = math.min(window, math.ceil((slot + SLOTS + 1) * length - now))
    end
  end
end

for rule = 1, #KEYS do
  local charge = charges[rule]
  if charge == nil then
    redis.call('ZADD', KEYS[rule], now + lease, id)
    redis.call('PEXPIRE', KEYS[rule], lease * 2)
  else
    local slot, tat, window, stale, is_first = unpack(charge, 1, 5)
    if #stale > 0 then
      redis.call('HDEL', KEYS[rule], unpack(stale))
    end
    redis.call('HINCRBY', KEYS[rule], string.format('%d', slot), 1)
    if tat then
      redis.call('HSET', KEYS[rule], 'tat', string.format('%.3f', tat))
    end
    if is_first then -- of its slot: the others need not say again how long the hash is of use
      redis.call('PEXPIRE', KEYS[rule], window * 2)
    end
  end
end
return {1, tightest, tightest_remaining or 0, tightest_reset}
