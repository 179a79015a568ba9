-- keys: show some of a queue's keys, and what they are below.
--
-- NEEDS  growth
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many to show
-- GIVES  keys cursor key...   of each key seven: key, waiting, delayed, share, 1 if
--                         paused, when last leased in microseconds or 0, in service
local q = open(base)
local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', limit)
local reply = {'keys', scan[1]}
local function show(key, node)
  local waiting = 0
  for _, stand in ipairs(node) do
    waiting = waiting + redis.call('ZCARD', ready_of(q, stand.level, key))
  end
  local at = #reply
  reply[at + 1] = key
  reply[at + 2] = waiting
  reply[at + 3] = redis.call('ZCARD', delayed_of(q, key))
  reply[at + 4] = string.format('%.17g', node.share)
  reply[at + 5] = is_blocked(node, PAUSED) and 1 or 0
  reply[at + 6] = node.at
  reply[at + 7] = node.in_service
end

for i = 1, #scan[2], 2 do
  local name = scan[2][i]
  if key_of(name) == name then show(name, read_node(q, name, scan[2][i + 1])) end
end
return reply
