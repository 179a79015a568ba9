-- resume: let a paused node be served again.
--
-- NEEDS  growth, timers
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
-- GIVES  resumed          the node races if it has work and nothing else blocks it
--        running          it was not paused; nothing changed
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local node = node_of(q, key)
if not is_blocked(node, PAUSED) then
  wake(q)
  return {'running'}
end

unblock(q, node, PAUSED)
save(q)
wake(q)
return {'resumed'}
