-- enqueue: store a batch of entries, all of them or none, and once.
--
-- NEEDS  places, room
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        publisher  str   who publishes; empty: nobody who would repeat it
--        number     str   which of that publisher's publishes this is
--        memory_ms  str   for how long the publisher's last one is remembered
--        entry...   str   of each entry seven: its queue's place among the bases
--                         (from 1), id, key, level ('!' after it: stored whatever
--                         waits), due and expiry ('@' absolute, '+' from now, in
--                         microseconds; '-' none), and the end of its value, from
--                         the level on
-- GIVES  stored count
--        repeated         the publish was stored before; nothing changed
--        taken id...      nothing stored: the ids are in use
--        full node most   nothing stored: that many may wait at that node
--
-- The first write is one that Redis refuses when memory is full.
now = time_of(now)

local function moment(when)
  if when == '-' then return nil end
  local amount = tonumber(string.sub(when, 2))
  if string.sub(when, 1, 1) == '+' then return now + amount end
  return amount
end

local published = publisher ~= '' and publisher_of({base = KEYS[first_base]}, publisher)
if published and tonumber(number) <= (tonumber(redis.call('GET', published) or 0) or 0) then
  return {'repeated'}
end

local opened, entries, taken = {}, {}, {}
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  if not is_sound(q) then return refusal(q) end
  q.sequence_was = q.sequence
  opened[#opened + 1] = q
end
for at = first_entry, #ARGV, 7 do
  local q, level = opened[tonumber(ARGV[at])], ARGV[at + 3]
  local is_exempt = #level > 1 and string.sub(level, -1) == '!'
  level = tonumber(is_exempt and string.sub(level, 1, -2) or level)
  q.sequence = q.sequence + 1
  local id, due, expires = ARGV[at + 1], moment(ARGV[at + 4]), moment(ARGV[at + 5])
  local place = due and due > now and flag_of(q.sequence, 'n', level)
  local value = entry_of(0, expires and text(expires) or '-', place or '-', ARGV[at + 6])
  if redis.call('HSETNX', q.entries, id, value) == 1 then
    entries[#entries + 1] = {
      q = q, id = id, key = ARGV[at + 2], level = level, is_exempt = is_exempt,
      due = due, expires = expires, place = place, sequence = q.sequence, rest = ARGV[at + 6],
    }
  else
    taken[#taken + 1] = id
  end
end

local function drop_all()
  for _, entry in ipairs(entries) do redis.call('HDEL', entry.q.entries, entry.id) end
end

if #taken > 0 then
  drop_all()
  return {'taken', unpack(taken)}
end

for _, entry in ipairs(entries) do
  local q = entry.q
  if q.version > 0 then
    q.more = q.more or {}
    for _, name in ipairs(way_of(entry.key)) do
      q.more[name] = (q.more[name] or 0) + 1
      local most = entry.is_exempt and 0 or most_waiting(q, name)
      if most > 0 and waiting_below(q, name) + q.more[name] > most then
        drop_all()
        return {'full', name, most}
      end
    end
  end
end

if published then redis.call('SET', published, number, 'PX', memory_ms) end
for _, q in ipairs(opened) do q.sequence = q.sequence_was end
for _, entry in ipairs(entries) do
  local q = entry.q
  refresh(q, entry.key, now)
  local sequence = next_sequence(q)
  if entry.place then
    if sequence ~= entry.sequence then
      -- A node took a number meanwhile.
      entry.place = flag_of(sequence, 'n', entry.level)
      local expires = entry.expires and text(entry.expires) or '-'
      redis.call('HSET', q.entries, entry.id, entry_of(0, expires, entry.place, entry.rest))
    end
    add_delayed(q, entry.key, entry.due, entry.place, entry.id)
  else
    add_ready(q, entry.key, entry.level, sequence, entry.id)
  end
end
for _, q in ipairs(opened) do
  if q.sequence_was == 0 then redis.call('ZADD', queues, 0, queue_of(queues, q.base)) end
  save(q)
  wake(q)
end
return {'stored', #entries}
