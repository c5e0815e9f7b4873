-- Admit some requests under all of their limits and budgets, or none: every one is checked before the first is charged.
--
-- KEYS    the index of reservations, the mark that budgets are counted; then one per rule: a hash for a rate, a sorted set of
--         leases for concurrency, a hash for a budget; then the reservation of each request
-- ARGV    how many requests, lease in ms, for how many like one that is made ahead there must be room (0: it is not), then per
--         rule its kind and what all of them together need
--           c  amount                                                   requests at once
--           r  amount, window in ms, burst (0: none)                    requests in a time
--           t  amount, window in ms, tokens                             tokens in a time
--           b  limit, hold, hard, slot, oldest, kept, life in ms        money: slots from the oldest on count, those from
--                                                                       the kept one on are not forgotten yet
--         then per request its id, the usage event if the reservation is swept, and what it holds of each budget
-- Returns {1, now in ms, {rule, remaining, reset in ms} of requests, the same of tokens, left of each budget, room} when
--           admitted; the rules are the tightest, 0 when there is none; room is 1 if many more like them would fit into all that
--           a settle gives back, 2 if they would into all that there is, and half of every limit is free
--         {0, rule, retry after in ms, or what is left of a budget}                                        when refused
--         {0}                                                when there is not room enough to make a reservation ahead
--         {-1}                                               when budgets have to be counted anew: nothing was charged
--
-- A rate slides: a window is counted in slots, and a slot counts until all of it has left the window. So no window,
-- wherever it begins, holds more than the amount, and what was used is free again a twentieth of a window late at most.
-- Beside the slots its hash keeps the newest of them (`at`) and the sum of those that count (`used`): only the first request
-- of a slot has to look at them all. A burst is a token bucket (GCRA) on top (`tat`, its theoretical arrival time).
-- Money is in nanos. The clock of rates and leases is Valkey's own.

local call = redis.call
local SLOTS = 20
local MANY = 16
local EXACT = 2 ^ 53
local ULPS = 4096 -- what three roundings of 64-bit integers to Lua's numbers may come to: never in the budget's disfavour

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local is_ahead = ARGV[3] ~= '0'
if is_ahead then
  MANY = tonumber(ARGV[3])
end
local RULES = #KEYS - 2 - count

-- Read the slots of a rate's hash: the count of each that still counts, their sum, and the fields that are of no use any
-- more (old slots, and those of another window that the rule had before).
local function read_slots(key, slot)
  local counts, used, stale = {}, 0, {}
  local state = call('HGETALL', key)
  for field = 1, #state, 2 do
    local number = tonumber(state[field])
    if number and number >= slot - SLOTS and number <= slot then
      counts[number] = tonumber(state[field + 1])
      used = used + counts[number]
    elseif number then
      stale[#stale + 1] = state[field]
    end
  end
  return counts, used, stale
end

-- Return when enough of the oldest slots have left the window for as much as is wanted, in ms from now.
local function wait_for_room(key, excess, slot, length)
  local counts = read_slots(key, slot)
  for number = slot - SLOTS, slot do
    excess = excess - (counts[number] or 0)
    if excess <= 0 then
      return math.max(1, math.ceil((number + SLOTS + 1) * length - now))
    end
  end
  return math.ceil(SLOTS * length)
end

-- Read a budget's hash: what is held, what was spent in the slots that count, whether the current slot is new, old slots.
local function read_budget(key, slot, oldest, kept)
  if slot == oldest then
    local state = call('HMGET', key, 'held', slot)
    if state[2] then
      return tonumber(state[1] or 0), tonumber(state[2]), false, {}
    end
  end
  local held, spent, is_new, stale = 0, 0, true, {}
  local state = call('HGETALL', key)
  for field = 1, #state, 2 do
    local name = state[field]
    if name == 'held' then
      held = tonumber(state[field + 1])
    elseif tonumber(name) < tonumber(kept) then
      stale[#stale + 1] = name
    elseif name == slot or (slot ~= oldest and tonumber(name) >= tonumber(oldest)) then
      spent = spent + tonumber(state[field + 1])
      is_new = is_new and name ~= slot
    end
  end
  return held, spent, is_new, stale
end

local charges, lefts = {}, {}
local tightest = {r = {0, 0, 0}, t = {0, 0, 0}}
local at, is_counted, room = 4, nil, 2

for rule = 1, RULES do
  local key, kind = KEYS[rule + 2], ARGV[at]
  if kind == 'c' then
    local amount = tonumber(ARGV[at + 1])
    local running = call('ZCARD', key) + count - 1 -- as the last of them finds it
    if running >= amount then -- those whose leases have ended count only until somebody looks
      call('ZREMRANGEBYSCORE', key, '-inf', now)
      running = call('ZCARD', key) + count - 1
      if running >= amount then
        return {0, rule, 1000}
      end
    end
    if amount - running <= MANY then
      room = 0
    elseif running * 2 >= amount then
      room = math.min(room, 1)
    end
    at = at + 2
  elseif kind == 'b' then
    is_counted = is_counted or call('EXISTS', KEYS[2])
    if is_counted == 0 then
      return {-1}
    end
    local limit, hold, is_hard = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3] == '1'
    local held, spent, is_new, stale = read_budget(key, ARGV[at + 4], ARGV[at + 5], ARGV[at + 6])
    local left = limit - held - spent
    local margin = limit < EXACT and 0 or ULPS
    if is_hard and hold > 0 and hold + margin > left then -- what costs nothing is not a matter of money
      return {0, rule, left}
    end
    if is_hard and left - hold + hold / count <= hold / count * MANY then -- as the last of them finds it
      room = 0
    end
    if is_new then
      charges[rule] = stale
    end
    lefts[#lefts + 1] = left - hold
    at = at + 8
  else
    local amount, window, weight, burst = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), count, 0
    if kind == 't' then
      weight = tonumber(ARGV[at + 3])
    else
      burst = tonumber(ARGV[at + 3])
    end
    local length = window / SLOTS
    local slot = math.floor(now / length)
    local name = string.format('%d', slot)
    local state = call('HMGET', key, 'at', 'used', name, 'tat')
    local used, counted, stale = tonumber(state[2]), tonumber(state[3]), nil
    if state[1] ~= name then -- the first request of its slot
      local counts
      counts, used, stale = read_slots(key, slot)
      counted = counts[slot]
    end
    if used + weight > amount then
      return {0, rule, wait_for_room(key, used + weight - amount, slot, length)}
    end
    local tat = false
    if burst > 0 then
      local interval = window / amount
      tat = math.max(tonumber(state[4] or 0), now) + (count - 1) * interval -- as the last of them finds it
      local early = tat - now - (burst - 1) * interval
      if early > 0 then
        return {0, rule, math.ceil(early)}
      end
      if early > -math.max(MANY, burst / 2) * interval then
        room = math.min(room, 1)
      end
      tat = string.format('%.3f', tat + interval)
    end
    charges[rule] = {name, used + weight, (counted or 0) + weight, tat, stale, window}
    local remaining, found = amount - used - weight, tightest[kind]
    if kind == 't' and remaining <= weight / count * MANY then
      room = 0
    elseif remaining <= math.max(weight / count * MANY, amount / 2) then
      room = math.min(room, 1)
    end
    if found[1] == 0 or remaining < found[2] then
      found[1], found[2], found[3] = rule, remaining, math.min(window, math.ceil((slot + SLOTS + 1) * length - now))
    end
    at = at + 4
  end
end

if is_ahead and room < 2 then
  return {0}
end

local width, rows, leases = (#ARGV - at + 1) / count, {}, {}
for request = 1, count do
  local first = at + (request - 1) * width
  rows[request] = {ARGV[first + 1]}
  leases[request * 2 - 1], leases[request * 2] = now + lease, ARGV[first]
end

local budget = at + 1 -- where the first request says what it holds of the budget before the next
at = 4
for rule = 1, RULES do
  local key, kind, charge = KEYS[rule + 2], ARGV[at], charges[rule]
  if kind == 'c' then
    call('ZADD', key, unpack(leases))
    call('PEXPIRE', key, lease * 2)
    for request = 1, count do
      table.insert(rows[request], {'c', key})
    end
    at = at + 2
  elseif kind == 'b' then
    local hold, life = ARGV[at + 2], ARGV[at + 7]
    budget = budget + 1
    for request = 1, count do
      table.insert(rows[request], {'b', key, ARGV[budget + (request - 1) * width]})
    end
    if hold ~= '0' then
      call('HINCRBY', key, 'held', hold)
    end
    if charge then -- the first request of its slot: what it has found to be stale
      call('HSETNX', key, ARGV[at + 4], '0')
      if #charge > 0 then
        call('HDEL', key, unpack(charge))
      end
      if life ~= '0' then
        call('PEXPIRE', key, life)
      else -- the budget may have had a period before
        call('PERSIST', key)
      end
    elseif life ~= '0' and call('PTTL', key) < life / 2 then
      call('PEXPIRE', key, life) -- its period was shorter before, and began at the same moment
    end
    at = at + 8
  else
    local name, used, counted, tat, stale, window = unpack(charge, 1, 6)
    if tat then
      call('HSET', key, 'at', name, 'used', used, name, counted, 'tat', tat)
    else
      call('HSET', key, 'at', name, 'used', used, name, counted)
    end
    if stale then -- the others of the slot need not say again how long the hash is of use
      if #stale > 0 then
        call('HDEL', key, unpack(stale))
      end
      call('PEXPIRE', key, window * 2)
    end
    at = at + 4
  end
end
for request = 1, count do
  call('SET', KEYS[2 + RULES + request], cmsgpack.pack(rows[request]))
end
call('ZADD', KEYS[1], unpack(leases))
return {1, now, tightest.r, tightest.t, lefts, room}
