-- add_tag: give a node a tag.
--
-- NEEDS  policies
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str   the node
--        tag        str
-- GIVES  tagged           the node has the tag
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local tags = tags_of(q, key)
if redis.call('SADD', tagged_of(q, tag), key) == 1 then
  tags[#tags + 1] = tag
  redis.call('HSET', rare(q, 'tags'), key, cmsgpack.pack(tags))
end
count_change(q)
save(q)
return {'tagged'}
