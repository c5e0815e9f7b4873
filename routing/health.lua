-- Keeps what a worker has decided of a deployment's health, tells the others, and appends the event. Atomic, so that
-- of two workers that decide the same at once one is heard.
-- KEYS: hash of what holds, stream of events
-- ARGV: field, change as JSON, channel, announcement as JSON, most events, now
-- Returns nothing when it was new, else what holds.
local change = cjson.decode(ARGV[2])
local held = redis.call('HGET', KEYS[1], ARGV[1])
local before = held and cjson.decode(held) or nil

local is_event = true
if change.kind == 'cooled_down' then
  if before and before['until'] >= change['until'] then
    return held
  end
  is_event = not (before and before['until'] > tonumber(ARGV[6]))
elseif before then
  -- Also when the clock of whoever opened it is ahead of ours: its time is not ours.
  local is_over = before.kind == 'breaker_opened' and (before['until'] <= change.at or before.at > tonumber(ARGV[6]) + 1)
  if before.kind == change.kind and not is_over then
    return held
  end
  -- Said by a worker that has not heard yet that another has tried meanwhile, and closed it or opened it again.
  if change.kind == 'breaker_half_open' and (before.kind == 'breaker_closed' or not is_over) then
    return held
  end
end

-- Older news are no news, unless the clock of whoever told the other one is ahead of ours.
if not before or before.at <= change.at or before.at > tonumber(ARGV[6]) + 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
if is_event then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'event', ARGV[2])
end
return false
