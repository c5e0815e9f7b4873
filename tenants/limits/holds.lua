-- Sum what the reservations hold of each budget, and compare it with what the budgets say is held.
--
-- KEYS    the index of reservations
-- ARGV    budgets' hashes
-- Returns for each hash what it says, and what the reservations hold

local sums = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local row = redis.call('GET', 'tollgate:reservation:' .. id)
  if row and row ~= 'settled' and row ~= 'swept' then
    local charges = cmsgpack.unpack(row)
    for index = 2, #charges do
      local kind, key, hold = unpack(charges[index], 1, 3)
      if kind == 'b' then
        sums[key] = (sums[key] or 0) + tonumber(hold)
      end
    end
  end
end
local found = {}
for _, key in ipairs(ARGV) do
  found[#found + 1] = redis.call('HGET', key, 'held') or '0'
  found[#found + 1] = string.format('%.0f', sums[key] or 0)
end
return found
