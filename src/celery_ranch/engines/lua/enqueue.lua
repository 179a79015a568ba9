-- enqueue: store a batch of entries, all of them or none, and once.
--
-- NEEDS  places, refusing, moments
-- OFTEN  add_ready, add, known, enter, join, present, wake
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        publisher  str   who publishes; empty: nobody who would repeat it
--        number     str   which of that publisher's publishes this is
--        memory_ms  str   for how long the publisher's last one is remembered
--        entry...   str   of each entry four: its terms, id, key, and the end of its
--                         value, from the level on. Its terms are its level, and 16 if
--                         it is stored whatever waits, and 32 times its queue's place
--                         among the bases, from 1; if it is delayed or expires, after
--                         a space each when ('@' absolute, '+' from now, in
--                         microseconds; '-' not)
-- GIVES  stored
--        repeated         the publish was stored before; nothing changed
--        taken id...      nothing stored: the ids are in use
--        full node most   nothing stored: that many may wait at that node
--
-- The first write is one that Redis refuses when memory is full.
now = time_of(now)

local published = publisher ~= '' and publisher_of(KEYS[first_base], publisher)
local opened, taken, is_taken, places = {}, {'taken'}, {}, {}
local is_limited = false
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  if not is_sound(q) then return repeated_or(published, refusal(q)) end
  q.sequence_was, is_limited = q.sequence, is_limited or q.version > 0
  opened[#opened + 1] = q
end
local only = #opened == 1 and opened[1]

local start = '0 - - ' .. text(now) .. ' '
for at = first_entry, #ARGV, 4 do
  local terms = tonumber(ARGV[at])
  local q = only or opened[math.floor((terms or timed_terms(at)) / 32)]
  local value = terms and start .. ARGV[at + 3]
  q.sequence = q.sequence + 1
  if not terms then
    places[at] = delayed_place(q, at)
    value = timed_value(at, places[at])
  end
  if redis.call('HSETNX', q.entries, ARGV[at + 1], value) == 0 then
    taken[#taken + 1], is_taken[at] = ARGV[at + 1], true
  end
end

local refused = #taken > 1 and taken or is_limited and first_full(opened)
if refused then
  refused = repeated_or(published, refused)
elseif published then
  -- One command for two: this is the way of nearly all.
  local last = redis.pcall('SET', published, number, 'PX', memory_ms, 'GET')
  if last and (tonumber(last) or 0) >= tonumber(number) or type(last) == 'table' then
    refused = take_back(published, last)
  end
end
if refused then
  drop(opened, is_taken)
  return refused
end

for _, q in ipairs(opened) do q.sequence = q.sequence_was end
for at = first_entry, #ARGV, 4 do
  local terms, id, key = tonumber(ARGV[at]) or timed_terms(at), ARGV[at + 1], ARGV[at + 2]
  local q, level = only or opened[math.floor(terms / 32)], terms % 16
  if q.version > 0 then refresh(q, key, now) end
  local sequence = next_sequence(q)
  q.stored = q.stored + 1
  if not places[at] then
    add_ready(q, key, level, sequence, id)
  else
    local place = flag_of(sequence, 'n', level)
    -- A node may have taken a number meanwhile.
    if place ~= places[at] then redis.call('HSET', q.entries, id, timed_value(at, place)) end
    add_delayed(q, key, due_of(at), place, id)
  end
end
for _, q in ipairs(opened) do
  if q.sequence_was == 0 then redis.call('ZADD', queues, 0, queue_of(queues, q.base)) end
  save(q)
  wake(q)
end
return redis.status_reply('stored')
