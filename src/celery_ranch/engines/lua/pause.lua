-- pause: take a node out of circulation; its entries keep their places.
--
-- NEEDS  growth
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
-- GIVES  paused           the node is not served until it is resumed
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
block(q, known(q, key), PAUSED)
save(q)
return {'paused'}
