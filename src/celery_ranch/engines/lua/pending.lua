-- pending: show a key's backlog, in its order.
--
-- NEEDS  places
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
--        offset     num   how many to pass over
--        limit      num   how many to show
-- GIVES  pending entry...   of each two: entry id, entry; first what waits, then
--                         what is delayed
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
local ready, last = ready_of(q, key), offset + limit - 1
local waiting = redis.call('ZCARD', ready)
for _, id in ipairs(redis.call('ZRANGE', ready, offset, last)) do show(id) end
if last >= waiting then
  local first = math.max(0, offset - waiting)
  local members = redis.call('ZRANGE', delayed_of(q, key), first, last - waiting)
  for _, member in ipairs(members) do show(string.sub(member, 18)) end
end
return reply
