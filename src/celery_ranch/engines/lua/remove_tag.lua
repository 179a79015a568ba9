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
local tags, others = tags_of(q, key), {}
for _, other in ipairs(tags) do
  if other ~= tag then others[#others + 1] = other end
end
redis.call('ZREM', rare(q, 'tagged'), tagged_member(tag, key))
if #others < #tags then
  set_tags(q, key, others)
  save(q)
end
return {'untagged'}
