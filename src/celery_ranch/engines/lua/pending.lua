-- pending: show a key's backlog, in its order.
--
-- NEEDS  places
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
--        offset     num   how many to pass over
--        limit      num   how many to show
-- GIVES  pending entry...   of each two: entry id, entry; first what waits, by
--                         level, then what is delayed
local q = names_of(base)
local reply = {'pending'}

local function show(id)
  local value = redis.call('HGET', q.entries, id)
  if header_of(value) then
    reply[#reply + 1] = id
    reply[#reply + 1] = value
  end
end

if limit < 1 then return reply end
local first, last = offset, offset + limit - 1
local function members_of(line)
  if last < 0 then return {} end
  local members = redis.call('ZRANGE', line, math.max(0, first), last)
  local size = redis.call('ZCARD', line)
  first, last = first - size, last - size
  return members
end

for level = 0, 10 do
  for _, id in ipairs(members_of(ready_of(q, level, key))) do show(id) end
end
for _, member in ipairs(members_of(delayed_of(q, key))) do show(string.sub(member, 19)) end
return reply
