-- remove_tag: take a tag from a node.
--
-- NEEDS  policies
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str   the node
--        tag        str
-- GIVES  untagged         the node does not have the tag
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local others = {}
for _, other in ipairs(tags_of(q, key)) do
  if other ~= tag then others[#others + 1] = other end
end
if #others > 0 then
  redis.call('HSET', rare(q, 'tags'), key, cmsgpack.pack(others))
else
  redis.call('HDEL', rare(q, 'tags'), key)
end
redis.call('SREM', tagged_of(q, tag), key)
count_change(q)
save(q)
return {'untagged'}
