-- enqueue: store a batch of entries, all of them or none, and once.
--
-- NEEDS  places, room, moments
-- OFTEN  add_ready, add, known, enter, join, present, wake
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        publisher  str   who publishes; empty: nobody who would repeat it
--        number     str   which of that publisher's publishes this is
--        memory_ms  str   for how long the publisher's last one is remembered
--        entry...   str   of each entry seven: its queue's place among the bases
--                         (from 1), id, key, level (16 more: stored whatever waits),
--                         due and expiry ('@' absolute, '+' from now, in
--                         microseconds; '-' none), and the end of its value, from
--                         the level on
-- GIVES  stored count
--        repeated         the publish was stored before; nothing changed
--        taken id...      nothing stored: the ids are in use
--        full node most   nothing stored: that many may wait at that node
--
-- The first write is one that Redis refuses when memory is full.
now = time_of(now)

local published = publisher ~= '' and publisher_of({base = KEYS[first_base]}, publisher)
if published and tonumber(number) <= (tonumber(redis.call('GET', published) or 0) or 0) then
  return {'repeated'}
end

local opened, taken, is_taken, places = {}, {'taken'}, {}, {}
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  if not is_sound(q) then return refusal(q) end
  q.sequence_was = q.sequence
  opened[#opened + 1] = q
end

local prefix = '0 - - ' .. text(now) .. ' '
for at = first_entry, #ARGV, 7 do
  local q, value = opened[tonumber(ARGV[at])]
  q.sequence = q.sequence + 1
  if ARGV[at + 4] == '-' and ARGV[at + 5] == '-' then
    value = prefix .. ARGV[at + 6]
  else
    places[at] = delayed_place(q, at)
    value = timed_value(at, places[at])
  end
  if redis.call('HSETNX', q.entries, ARGV[at + 1], value) == 0 then
    taken[#taken + 1], is_taken[at] = ARGV[at + 1], true
  end
end

local refused = #taken > 1 and taken
for at = first_entry, refused and 0 or #ARGV, 7 do
  local q = opened[tonumber(ARGV[at])]
  if q.version > 0 then
    local full, most = full_node(q, ARGV[at + 2], tonumber(ARGV[at + 3]) >= 16)
    if full then
      refused = {'full', full, most}
      break
    end
  end
end
if refused then
  for at = first_entry, #ARGV, 7 do
    if not is_taken[at] then
      redis.call('HDEL', opened[tonumber(ARGV[at])].entries, ARGV[at + 1])
    end
  end
  return refused
end

if published then redis.call('SET', published, number, 'PX', memory_ms) end
for _, q in ipairs(opened) do q.sequence = q.sequence_was end
for at = first_entry, #ARGV, 7 do
  local q, id, key = opened[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  if q.version > 0 then refresh(q, key, now) end
  local sequence, level = next_sequence(q), tonumber(ARGV[at + 3]) % 16
  q.stored = q.stored + 1
  if not places[at] then
    add_ready(q, key, level, sequence, id)
  else
    local place = flag_of(sequence, 'n', level)
    -- A node may have taken a number meanwhile.
    if place ~= places[at] then redis.call('HSET', q.entries, id, timed_value(at, place)) end
    add_delayed(q, key, moment(ARGV[at + 4]), place, id)
  end
end
for _, q in ipairs(opened) do
  if q.sequence_was == 0 then redis.call('ZADD', queues, 0, queue_of(queues, q.base)) end
  save(q)
  wake(q)
end
return {'stored', (#ARGV - first_entry + 1) / 7}
