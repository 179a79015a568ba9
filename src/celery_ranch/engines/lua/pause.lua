-- pause: take a key out of circulation; its entries keep their places.
--
-- NEEDS  tree
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
-- GIVES  paused           the key is not served until it is resumed
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local node = node_of(q, key)
if node.paused == 0 then
  leave(q, key, node)
  node.paused, node.is_changed = 1, true
  save(q)
end
return {'paused'}
