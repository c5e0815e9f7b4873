-- End the reservations of several requests of the same rules in one step: give back what they hold, charge what they used, and
-- append their events, once only. What comes of it is what settle.lua would do for one after the other.
--
-- Only for what settle.lua would not look at twice: each has an event that replaces none, costs no hard budget more than it
-- holds, and was not settled before as far as its worker knows. Those that are not held any more are left to settle.lua.
--
-- KEYS    the usage stream, the index of reservations, then one per charge, then the reservation of each request
-- ARGV    how many requests, how long to remember that they are settled in ms, then per charge its kind and
--           c                       requests at once
--           t  window in ms         tokens in a time
--           b  slot, charged        money in nanos; charged is 0 for a budget of another currency than what they cost
--         then per request its id, its event, when it was reserved in ms (0: it was not), what it cost, and for each charge
--           t  how many more tokens it used than were reserved
--           b  what it holds
--         amounts are so small that Lua's numbers tell their sums exactly
-- Returns which of the requests, counted from 0, were not held any more: nothing was done for them

local call = redis.call
local SLOTS = 20
local ARITY = {c = 1, t = 2, b = 3} -- of a charge, its kind included
local WIDTH = {c = 0, t = 1, b = 1} -- of what each request says of a charge

local count = tonumber(ARGV[1])
local CHARGES = #KEYS - 2 - count
local first, width = 3, 4
for _ = 1, CHARGES do
  local kind = ARGV[first]
  first, width = first + ARITY[kind], width + WIDTH[kind]
end

local held, ids, others = {}, {}, {} -- held: where in ARGV each that still is begins
for request = 0, count - 1 do
  local key = KEYS[2 + CHARGES + 1 + request]
  local before = call('GET', key)
  if before and before ~= 'settled' and before ~= 'swept' then
    call('SET', key, 'settled', 'PX', ARGV[2])
    held[#held + 1] = first + request * width
    ids[#ids + 1] = ARGV[first + request * width]
  else
    others[#others + 1] = request
  end
end
if #held == 0 then
  return others
end
call('ZREM', KEYS[2], unpack(ids))

-- Return the sum of what those that are held say at a place.
local function sum(place)
  local total = 0
  for _, at in ipairs(held) do
    total = total + tonumber(ARGV[at + place])
  end
  return total
end

local at, place = 3, 4 -- of the charge, and of what each request says of it
for charge = 1, CHARGES do
  local key, kind = KEYS[2 + charge], ARGV[at]
  if kind == 'c' then
    call('ZREM', key, unpack(ids))
  elseif kind == 'b' then
    local amount, cost = sum(place), ARGV[at + 2] == '1' and sum(3) or 0
    if amount ~= 0 then
      call('HINCRBY', key, 'held', string.format('%d', -amount))
    end
    if cost ~= 0 then
      redis.pcall('HINCRBY', key, ARGV[at + 1], string.format('%d', cost)) -- a soft budget's may be full: the rest must not be lost
    end
  else
    local length, changes = tonumber(ARGV[at + 1]) / SLOTS, {}
    for _, from in ipairs(held) do
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
for _, from in ipairs(held) do
  call('XADD', KEYS[1], '*', 'event', ARGV[from + 1])
end
return others
