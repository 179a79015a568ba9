-- keys: show some of a queue's keys.
--
-- NEEDS  tree
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many to show
-- GIVES  keys cursor key...   of each key six: key, waiting, delayed, share, 1 if
--                         paused, when last leased in microseconds or 0
local q = open(base)
local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', limit)
local reply = {'keys', scan[1]}
for i = 1, #scan[2], 2 do
  local key = scan[2][i]
  local node = node_of(q, key)
  local at = #reply
  reply[at + 1] = key
  reply[at + 2] = redis.call('ZCARD', ready_of(q, key))
  reply[at + 3] = redis.call('ZCARD', delayed_of(q, key))
  reply[at + 4] = string.format('%.17g', node.share)
  reply[at + 5] = node.paused
  reply[at + 6] = node.at
end
return reply
