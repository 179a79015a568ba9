-- enqueue: store a batch of entries, all of them or none, and once.
--
-- NEEDS  places
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        publisher  str   who publishes; empty: nobody who would repeat it
--        number     str   which of that publisher's publishes this is
--        memory_ms  str   for how long the publisher's last one is remembered
--        entry...   str   of each entry six: its queue's place among the bases
--                         (from 1), id, key, due and expiry ('@' absolute, '+'
--                         from now, in microseconds; '-' none), and the end of
--                         its value: bytes of the key, space, key, message
-- GIVES  stored count
--        repeated         the publish was stored before; nothing changed
--        taken id...      nothing stored: the ids are in use
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
for at = first_entry, #ARGV, 6 do
  local q = opened[tonumber(ARGV[at])]
  q.sequence = q.sequence + 1
  local id, due, expires = ARGV[at + 1], moment(ARGV[at + 3]), moment(ARGV[at + 4])
  local is_delayed = due and due > now
  local value = '0 ' .. (expires and text(expires) or '-') .. ' '
    .. (is_delayed and padded(q.sequence) .. 'n' or '-') .. ' ' .. ARGV[at + 5]
  if redis.call('HSETNX', q.entries, id, value) == 1 then
    entries[#entries + 1] = {q, id, ARGV[at + 2], q.sequence, is_delayed and due}
  else
    taken[#taken + 1] = id
  end
end
if #taken > 0 then
  for _, entry in ipairs(entries) do redis.call('HDEL', entry[1].entries, entry[2]) end
  return {'taken', unpack(taken)}
end

if published then redis.call('SET', published, number, 'PX', memory_ms) end
for _, entry in ipairs(entries) do
  local q, id, key, sequence, due = unpack(entry)
  if due then
    add_delayed(q, key, due, sequence, 'n', id)
  else
    add_ready(q, key, sequence, id)
  end
end
for _, q in ipairs(opened) do
  if q.sequence_was == 0 then redis.call('ZADD', queues, 0, queue_of(queues, q.base)) end
  save(q)
  wake(q)
end
return {'stored', #entries}
