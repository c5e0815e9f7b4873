-- End a reservation: give back what it holds, charge what was used, and append the usage event, in one step and once only.
--
-- KEYS    the usage stream, the reservation, the index of reservations, the mark that budgets are counted, then one per charge
-- ARGV    request id, how long to remember that it is settled in ms, the event ('' to release without one), tokens used,
--         when it was reserved in ms (0: it was not), 1 if the event replaces that of a sweep, 2 if it may have been settled
--         before; then per charge its kind and
--           c                                     requests at once
--           t  window in ms, tokens reserved      tokens in a time
--           r  window in ms, amount (0: no burst) requests in a time: one that was not sent after all
--           b  slot, hold, cost, limit, hard, oldest   money in nanos; slots from the oldest on count
-- Returns {1} when settled now, {0} when it was settled before;
--         {2, nanos} when a hard budget has no room for more than so much: nothing was done;
--         {3, nanos} the same when the reservation was swept meanwhile: settle again with an event that replaces the sweep's
--
-- What was held is the most that a request may cost a hard budget, unless there is room for more. What was never held, because
-- Valkey was away, is charged in full. While budgets are not counted they are not charged: the count will find the event.

local SLOTS = 20

local id, event, tokens, reserved_at = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local before = redis.call('GET', KEYS[2])
if before == 'settled' then
  return {0}
end
local was_swept = before == 'swept'
local is_held = before and not was_swept
local ARITY = {c = 1, r = 3, t = 3, b = 7}

-- Return what is held of a budget, and what was spent in the slots that count.
local function used(key, slot, oldest)
  if slot == oldest then
    local state = redis.call('HMGET', key, 'held', slot)
    return tonumber(state[1] or 0) + tonumber(state[2] or 0)
  end
  local sum = 0
  local state = redis.call('HGETALL', key)
  for field = 1, #state, 2 do
    if state[field] == 'held' or tonumber(state[field]) >= tonumber(oldest) then
      sum = sum + tonumber(state[field + 1])
    end
  end
  return sum
end

local function room(key, at)
  local mine = is_held and tonumber(ARGV[at + 2]) or 0
  return math.max(mine, tonumber(ARGV[at + 4]) - used(key, ARGV[at + 1], ARGV[at + 6]) + mine)
end

if before then
  local at, most = 7, nil
  for charge = 5, #KEYS do
    if ARGV[at] == 'b' and ARGV[at + 5] == '1' and ARGV[at + 3] ~= '0' then
      local cost = tonumber(ARGV[at + 3])
      if was_swept or cost > tonumber(ARGV[at + 2]) then
        local room = room(KEYS[charge], at)
        if cost > room then
          most = math.min(most or room, math.max(0, room))
        end
      end
    end
    at = at + ARITY[ARGV[at]]
  end
  if was_swept and ARGV[6] ~= '1' then
    return {3, most or -1}
  end
  if most then
    return {was_swept and 3 or 2, most}
  end
end

redis.call('SET', KEYS[2], 'settled', 'PX', ARGV[2])
redis.call('ZREM', KEYS[3], id)
if not before and ARGV[6] == '2' then -- forgotten, or lost with all else: charged or not, only the ledger can tell
  redis.call('DEL', KEYS[4])
end
local is_counted = is_held or redis.call('EXISTS', KEYS[4]) == 1
local at = 7
for charge = 5, #KEYS do
  local key, kind = KEYS[charge], ARGV[at]
  if kind == 'c' then
    redis.call('ZREM', key, id)
  elseif kind == 'b' then
    if is_held and ARGV[at + 2] ~= '0' then
      redis.call('HINCRBY', key, 'held', '-' .. ARGV[at + 2])
    end
    if is_counted and ARGV[at + 3] ~= '0' then
      redis.pcall('HINCRBY', key, ARGV[at + 1], ARGV[at + 3]) -- a soft budget's may be full: the event must not be lost
    end
  elseif reserved_at > 0 then
    local window, number = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local change = kind == 'r' and -1 or tokens - number
    local slot = string.format('%d', math.floor(reserved_at / (window / SLOTS)))
    if change ~= 0 and redis.call('HEXISTS', key, slot) == 1 then -- else it has left the window
      redis.call('HINCRBY', key, slot, string.format('%d', change))
      redis.call('HINCRBY', key, 'used', string.format('%d', change)) -- the sum of the slots that are there
      if kind == 'r' and number > 0 then
        local time = redis.call('TIME') -- what has drained from the bucket meanwhile is free again already
        local drained = time[1] * 1000 + math.floor(time[2] / 1000) - reserved_at
        redis.call('HINCRBYFLOAT', key, 'tat', string.format('%.3f', -math.max(0, window / number - drained)))
      end
    end
  end
  at = at + ARITY[kind]
end
if event ~= '' then
  redis.call('XADD', KEYS[1], '*', 'event', event)
end
return {1}
