-- timers: what comes due next, and a token for who waits.
--
-- NEEDS  tree
-- LATER  wake, is_sooner_due
-- KEYS   none
-- ARGV   none
-- GIVES  first_due(q)           when something may come to be leasable by itself first;
--                               false if nothing will. Its member is then q.first_timer
--        set_time(q, member, due)   a timer
--        drop_time(q, member)
--        next_sequence(q)       a number larger than any before
--        wake(q)                leave a token if something is leasable, or comes due
--                               earlier than q.due_before, which is set when timers
--                               change: to what was due first until then
local function first_due(q)
  if q.first_due == nil then
    local first = redis.call('ZRANGE', q.timers, 0, 0, 'WITHSCORES')
    q.first_timer, q.first_due = first[1], tonumber(first[2]) or false
  end
  return q.first_due
end

local function change(q)
  if q.due_before == nil then q.due_before = first_due(q) end
  q.first_due = nil
end

local function set_time(q, member, due)
  change(q)
  redis.call('ZADD', q.timers, due, member)
end

local function drop_time(q, member)
  change(q)
  redis.call('ZREM', q.timers, member)
end

local function next_sequence(q)
  q.sequence = q.sequence + 1
  return q.sequence
end

local function is_sooner_due(q)
  local due = first_due(q)
  return due and (not q.due_before or due < q.due_before)
end

local function wake(q)
  if redis.call('EXISTS', q.wake) == 1 then return end
  if is_leasable(q) or q.due_before ~= nil and is_sooner_due(q) then
    redis.call('LPUSH', q.wake, '1')
  end
end
