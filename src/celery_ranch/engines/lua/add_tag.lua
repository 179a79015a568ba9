-- add_tag: give a node a tag.
--
-- NEEDS  policies
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str   the node
--        tag        str   a name, an equals sign and a value
--        is_only    str   1: no other tag of that name is left to it
-- GIVES  tagged           the node has the tag
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local start = string.match(tag, '^[^=]*')
local tags, is_new, is_changed = {}, true, false
for _, other in ipairs(tags_of(q, key)) do
  if other ~= tag and is_only == '1' and string.match(other, '^[^=]*') == start then
    redis.call('ZREM', rare(q, 'tagged'), tagged_member(other, key))
    is_changed = true
  else
    tags[#tags + 1] = other
    is_new = is_new and other ~= tag
  end
end
if is_new then
  redis.call('ZADD', rare(q, 'tagged'), 0, tagged_member(tag, key))
  tags[#tags + 1] = tag
end
if is_new or is_changed then
  set_tags(q, key, tags)
  save(q)
end
return {'tagged'}
