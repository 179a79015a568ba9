-- resume: let a paused key be served again.
--
-- NEEDS  tree
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
-- GIVES  resumed          the key is in the index if it has something ready
--        running          it was not paused; nothing changed
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local node = node_of(q, key)
if node.paused == 0 then return {'running'} end

node.paused, node.is_changed = 0, true
if redis.call('EXISTS', ready_of(q, key)) == 1 then enter(q, key, node) end
save(q)
wake(q)
return {'resumed'}
