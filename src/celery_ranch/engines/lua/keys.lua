-- keys: show some of a queue's keys, and what they are below.
--
-- NEEDS  showing
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many to show
-- GIVES  keys cursor key...   of each key the eight of showing.lua
local q = open(base)
local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', limit)
local reply = {'keys', scan[1]}
for i = 1, #scan[2], 2 do
  local name = scan[2][i]
  if key_of(name) == name then show(q, reply, name, read_node(q, name, scan[2][i + 1])) end
end
return reply
