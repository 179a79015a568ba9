-- enqueue: store a batch of entries, all of them or none, and once.
--
-- NEEDS  places, room
-- OFTEN  places, growth, epochs
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

local opened, stored, taken, places = {}, {}, {}, {}
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  if not is_sound(q) then return refusal(q) end
  q.sequence_was = q.sequence
  opened[#opened + 1] = q
end

local function level_of(at)
  local level = ARGV[at + 3]
  if string.byte(level, -1) ~= 33 then return tonumber(level), false end
  return tonumber(string.sub(level, 1, -2)), true
end

local at_once = ' - ' .. text(now) .. ' '
local function value_of(at)
  local expires, place = moment(ARGV[at + 5]), at_once
  if places[at] then
    place = ' ' .. places[at] .. ' ' .. text(moment(ARGV[at + 4])) .. ' '
  end
  return '0 ' .. (expires and text(expires) or '-') .. place .. ARGV[at + 6]
end

for at = first_entry, #ARGV, 7 do
  local q, due = opened[tonumber(ARGV[at])], moment(ARGV[at + 4])
  q.sequence = q.sequence + 1
  if due and due > now then places[at] = flag_of(q.sequence, 'n', (level_of(at))) end
  if redis.call('HSETNX', q.entries, ARGV[at + 1], value_of(at)) == 1 then
    stored[#stored + 1] = at
  else
    taken[#taken + 1] = ARGV[at + 1]
  end
end

local function drop_all()
  for _, at in ipairs(stored) do
    redis.call('HDEL', opened[tonumber(ARGV[at])].entries, ARGV[at + 1])
  end
end

if #taken > 0 then
  drop_all()
  return {'taken', unpack(taken)}
end

for _, at in ipairs(stored) do
  local q = opened[tonumber(ARGV[at])]
  if q.version > 0 then
    local _, is_exempt = level_of(at)
    local full, most = full_node(q, ARGV[at + 2], is_exempt)
    if full then
      drop_all()
      return {'full', full, most}
    end
  end
end

if published then redis.call('SET', published, number, 'PX', memory_ms) end
for _, q in ipairs(opened) do q.sequence = q.sequence_was end
for _, at in ipairs(stored) do
  local q, id, key = opened[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  if q.version > 0 then refresh(q, key, now) end
  local sequence, level = next_sequence(q), level_of(at)
  q.stored = q.stored + 1
  if not places[at] then
    add_ready(q, key, level, sequence, id)
  else
    local place = flag_of(sequence, 'n', level)
    if place ~= places[at] then
      -- A node took a number meanwhile.
      places[at] = place
      redis.call('HSET', q.entries, id, value_of(at))
    end
    add_delayed(q, key, moment(ARGV[at + 4]), place, id)
  end
end
for _, q in ipairs(opened) do
  if q.sequence_was == 0 then redis.call('ZADD', queues, 0, queue_of(queues, q.base)) end
  save(q)
  wake(q)
end
return {'stored', #stored}
