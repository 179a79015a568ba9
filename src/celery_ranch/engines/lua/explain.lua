-- explain: tell where an entry is, what holds it back, and what goes before it.
--
-- NEEDS  ahead, blockers, choosing, holder, withdrawals
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        entry_id   str
--        first      num   from which worker on to look for its lease
--        most       num   how many siblings to look at
-- GIVES  each begins with: word, now, how many were handed over, how many workers, what
--        is known of the entry up to its message (empty: nothing)
--        waiting ... position better own worse precision blocker...   see ahead.lua
--        delayed ... due blocker...   of each five: node, why, running, limit, until
--        dead ... why     time and reason
--        withdrawn ...    it is aside
--        held ... next state worker number key level leased_at   0: not known; next: from
--                         which worker on to look for a later one, 0: nowhere
--        elsewhere ... next   it is not where was looked
now = time_of(now)
local q = open(base)
if not is_sound(q) then return refusal(q) end

local value = redis.call('HGET', q.entries, entry_id)
local _, _, place, level, key, _, message_at = header_of(value)
local known = value and string.sub(value, 1, (message_at or 1) - 1) or ''
local workers = redis.call('ZCOUNT', q.workers, '(' .. text(now), '+inf')

local function reply_of(word, ...)
  return {word, now, q.number, workers, known, ...}
end

if value and type(redis.pcall('ZSCORE', rare(q, 'dead'), entry_id)) == 'string' then
  return reply_of('dead', redis.pcall('HGET', rare(q, 'reasons'), entry_id) or '')
end
if key then
  local position = redis.pcall('ZRANK', ready_of(q, level, key), entry_id)
  if type(position) == 'number' then
    local _, cost = terms_of(value)
    if cost ~= 'm' then cost = tonumber(cost) or 1000000 else cost = nil end
    local reply = reply_of('waiting', position, ahead_of(q, key, level, position, cost, most))
    return add_blockers(reply, q, key, now)
  end
  local due = redis.pcall('ZSCORE', delayed_of(q, key), place .. entry_id)
  if type(due) == 'string' then
    return add_blockers(reply_of('delayed', tonumber(due)), q, key, now)
  end
end

if value and is_aside(q, entry_id) then return reply_of('withdrawn') end

local worker, number, lease, next = find_holder(q, entry_id, not value, first)
if not worker then return reply_of('elsewhere', next) end
-- When a node was served is known of the last time.
local leaf, last = node_of(q, lease.leaf), 0
for _, stand in ipairs(leaf) do
  if stand.served == 1 then last = math.max(last, stand.number) end
end
return reply_of('held', next, lease.state, worker, number, key_of(lease.leaf), lease.level,
  last == number and leaf.at or 0)
