-- End the reservations of several requests of the same rules in one step: give back what they hold, charge what they used, and
-- append their events, once only. What comes of it is what settle.lua would do for one after the other, but where a soft
-- budget's counter is full: then nothing more is counted of any of them.
--
-- Only for those that have an event that replaces none, cost no hard budget more than they hold, and were not settled before
-- as far as their worker knows. Those that were swept, or settled all the same, are left to settle.lua.
--
-- KEYS    the usage stream, the index of reservations, the mark that budgets are counted, then one per charge, then the
--         reservation of each request
-- ARGV    how many requests, how long to remember that they are settled in ms, then per charge its kind and
--           c                       requests at once
--           t  window in ms         tokens in a time
--           b  slot, charged        money in nanos; charged is 0 for a budget of another currency than what they cost
--         then per request its id, its event, when it was reserved in ms (0: it was not), what it cost, and for each charge
--           t  how many more tokens it used than were reserved
--           b  what it holds
--         amounts are so small that Lua's numbers tell their sums exactly
-- Returns which of the requests, counted from 0, were swept or settled before: nothing was done for them

local call = redis.call
local SLOTS = 20
local ARITY = {c = 1, t = 2, b = 3} -- of a charge, its kind included
local WIDTH = {c = 0, t = 1, b = 1} -- of what each request says of a charge

local count = tonumber(ARGV[1])
local CHARGES = #KEYS - 3 - count
local first, width = 3, 4
for _ = 1, CHARGES do
  local kind = ARGV[first]
  first, width = first + ARITY[kind], width + WIDTH[kind]
end

local settled, held, ids, others = {}, {}, {}, {} -- settled, held: where in ARGV each that is begins
for request = 0, count - 1 do
  local key, from = KEYS[3 + CHARGES + 1 + request], first + request * width
  local before = call('GET', key)
  if before == 'settled' or before == 'swept' then
    others[#others + 1] = request
  else
    call('SET', key, 'settled', 'PX', ARGV[2])
    settled[#settled + 1] = from
    ids[#ids + 1] = ARGV[from]
    if before then -- else it was forgotten with all else: it holds nothing, and is charged if budgets are counted
      held[#held + 1] = from
    end
  end
end
if #settled == 0 then
  return others
end
call('ZREM', KEYS[2], unpack(ids))
local charged = call('EXISTS', KEYS[3]) == 1 and settled or held

-- Return the sum of what some say at a place.
local function sum(some, place)
  local total = 0
  for _, from in ipairs(some) do
    total = total + tonumber(ARGV[from + place])
  end
  return total
end

local at, place = 3, 4 -- of the charge, and of what each request says of it
for charge = 1, CHARGES do
  local key, kind = KEYS[3 + charge], ARGV[at]
  if kind == 'c' then
    call('ZREM', key, unpack(ids))
  elseif kind == 'b' then
    local amount, cost = sum(held, place), ARGV[at + 2] == '1' and sum(charged, 3) or 0
    if amount ~= 0 then
      call('HINCRBY', key, 'held', string.format('%d', -amount))
    end
    if cost ~= 0 then
      redis.pcall('HINCRBY', key, ARGV[at + 1], string.format('%d', cost)) -- a soft budget's may be full: the rest must not be lost
    end
  else
    local length, changes = tonumber(ARGV[at + 1]) / SLOTS, {}
    for _, from in ipairs(settled) do
      local slot = string.format('%d', math.floor(tonumber(ARGV[from + 2]) / length))
      changes[slot] = (changes[slot] or 0) + tonumber(ARGV[from + place])
    end
    for slot, change in pairs(changes) do
      if change ~= 0 and call('HEXISTS', key, slot) == 1 then -- else it has left the window, or was never reserved
        call('HINCRBY', key, slot, string.format('%d', change))
        call('HINCRBY', key, 'used', string.format('%d', change)) -- the sum of the slots that are there
      end
    end
  end
  at, place = at + ARITY[kind], place + WIDTH[kind]
end
for _, from in ipairs(settled) do
  call('XADD', KEYS[1], '*', 'event', ARGV[from + 1])
end
return others
