-- Say how much of each limit and budget is used, and charge nothing.
--
-- KEYS    one per rule, as in reserve.lua
-- ARGV    per rule its kind and two numbers: window in ms and 0 of rates, current and oldest slot of budgets, 0 and 0 else
-- Returns {used, ms until it is whole again} of each limit, {held, spent} of each budget, as strings

local SLOTS = 20
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for rule = 1, #KEYS do
  local key, at = KEYS[rule], 3 * rule - 2
  local kind, first, second = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if kind == 'c' then
    found[rule] = {tostring(redis.call('ZCOUNT', key, '(' .. now, '+inf')), '0'}
  else
    local used, held, newest = 0, '0', nil
    local length = kind ~= 'b' and first / SLOTS or 1
    local state = redis.call('HGETALL', key)
    for field = 1, #state, 2 do
      local number, value = tonumber(state[field]), tonumber(state[field + 1])
      if state[field] == 'held' then
        held = state[field + 1]
      elseif kind == 'b' and (number == first or (first ~= second and number >= second)) then
        used = used + value
      elseif kind ~= 'b' and number and number >= math.floor(now / length) - SLOTS then
        used = used + value
        newest = math.max(newest or number, number)
      end
    end
    if kind == 'b' then
      found[rule] = {held, string.format('%.0f', used)}
    else
      local reset = newest and math.min(first, math.ceil((newest + SLOTS + 1) * length - now)) or 0
      found[rule] = {string.format('%.0f', used), string.format('%.0f', reset)}
    end
  end
end
return found
