-- arrive: store entries that were taken aside in another queue, and each once.
--
-- NEEDS  filing, returns
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        dead_limit num   how many dead letters a queue keeps
--        token      str   of their withdrawal
--        arrival_ms str   for how long it is remembered how far that has come
--        key        str   whose they are from now on; empty: each its own key's
--        entry...   str   of each entry three: id, number by which they are sorted, entry
-- GIVES  arrived          each is stored, or was before
--        taken id...      nothing stored: the ids are in use
--
-- The first write is one that Redis refuses when memory is full.
now = time_of(now)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local mark = rare(q, 'arrived:' .. token)
local last = tonumber(redis.call('GET', mark) or 0)

local new, taken = {}, {'taken'}
for at = first_entry, #ARGV, 3 do
  if tonumber(ARGV[at + 1]) > last then
    if redis.call('HSETNX', q.entries, ARGV[at], ARGV[at + 2]) == 1 then
      new[#new + 1] = at
    else
      taken[#taken + 1] = ARGV[at]
    end
  end
end
if #taken > 1 then
  for _, at in ipairs(new) do redis.call('HDEL', q.entries, ARGV[at]) end
  return taken
end

local function store(id, value)
  local deliveries, expires, place, level, its_key, rest_at = header_of(value)
  q.stored = q.stored + 1
  if not deliveries then
    local owner = key ~= '' and key or 'unreadable'
    known(q, owner)
    return bury(q, id, owner, 0, 'unreadable record', now, dead_limit)
  end
  if key ~= '' then its_key = key end
  known(q, its_key)
  refresh(q, its_key, now)
  local sequence, due = next_sequence(q), tonumber(string.match(place, '^@(%d+)$'))
  local is_delayed = due and due > now
  if is_delayed then
    place = flag_of(sequence, 'n', level)
  elseif place ~= SUSPECT then
    place = '-'
  end
  redis.call('HSET', q.entries, id,
    entry_of(deliveries, expires, place, rest_with(value, rest_at, its_key)))
  if is_delayed then return add_delayed(q, its_key, due, place, id) end
  add_ready(q, its_key, level, sequence, id)
end

for _, at in ipairs(new) do
  store(ARGV[at], ARGV[at + 2])
  redis.call('SET', mark, ARGV[at + 1], 'PX', arrival_ms)
end
redis.call('ZADD', queues, 0, queue_of(queues, base))
save(q)
wake(q)
return {'arrived'}
