-- enqueue: store a batch of entries, all of them or none.
--
-- NEEDS  places
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        entry...   str   of each entry seven: its queue's place among the bases
--                         (from 1), id, key, token, due and expiry ('@' absolute,
--                         '+' from now, in microseconds; '-' none), and the end of
--                         its value: bytes of the key, space, key, message
-- GIVES  stored count id...   stored but for the ids, known from this publish
--        taken id...          nothing stored: the ids are in use by others
--
-- The first write is one that Redis refuses when memory is full.
now = time_of(now)

local function moment(when)
  if when == '-' then return nil end
  local amount = tonumber(string.sub(when, 2))
  if string.sub(when, 1, 1) == '+' then return now + amount end
  return amount
end

local opened, ids = {}, {}
for at = first_entry, #ARGV, 7 do
  local place = tonumber(ARGV[at])
  if not opened[place] then
    opened[place] = open(KEYS[first_base + place - 1])
    opened[place].tokens = {}
    opened[place].sequence_was = opened[place].sequence
    ids[place] = {}
  end
  table.insert(ids[place], ARGV[at + 1])
end
for place, q in pairs(opened) do
  for first = 1, #ids[place], 1000 do
    local last = math.min(first + 999, #ids[place])
    local values = redis.call('HMGET', q.entries, unpack(ids[place], first, last))
    for i, value in ipairs(values) do
      if value then
        local _, _, token = header_of(value)
        q.tokens[ids[place][first + i - 1]] = token or ''
      end
    end
  end
end

local known, taken, fresh = {}, {}, {}
for at = first_entry, #ARGV, 7 do
  local q, id, token = opened[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 3]
  if not q.tokens[id] then
    q.tokens[id] = token
    fresh[#fresh + 1] = at
  elseif q.tokens[id] == token then
    known[#known + 1] = id
  else
    taken[#taken + 1] = id
  end
end
if #taken > 0 then return {'taken', unpack(taken)} end

for _, at in ipairs(fresh) do
  local q, id, key = opened[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local due, expires = moment(ARGV[at + 4]), moment(ARGV[at + 5])
  local is_delayed = due and due > now
  q.sequence = q.sequence + 1
  local place = is_delayed and padded(q.sequence) .. 'n' or '-'
  redis.call('HSET', q.entries, id, '0 ' .. (expires and text(expires) or '-') .. ' '
    .. ARGV[at + 3] .. ' ' .. place .. ' ' .. ARGV[at + 6])
  if is_delayed then
    add_delayed(q, key, due, q.sequence, 'n', id)
  else
    add_ready(q, key, q.sequence, id)
  end
end
for _, q in pairs(opened) do
  if q.sequence > q.sequence_was then
    if q.sequence_was == 0 then redis.call('ZADD', queues, 0, queue_of(queues, q.base)) end
    save(q)
  end
  wake(q)
end
return {'stored', #fresh, unpack(known)}
