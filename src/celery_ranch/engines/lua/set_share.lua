-- set_share: give a key a share, at once also for what waits.
--
-- NEEDS  charging
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
--        share      num
-- GIVES  shared           the key has the share
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local node = node_of(q, key)
local is_indexed = node.paused == 0 and redis.call('EXISTS', ready_of(q, key)) == 1
if is_indexed then leave(q, key, node) end

local s = present(q, node)
if s > q.v then s = q.v + rescaled(s - q.v, charge(node.share), charge(share)) end
node.s, node.epoch, node.share, node.is_changed = s, q.epoch, share, true

if is_indexed then put(q, key, node) end
save(q)
return {'shared'}
