-- cancel: drop an entry that waits.
--
-- NEEDS  places
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        entry_id   str
-- GIVES  cancelled entry  it is gone from the store
--        elsewhere        no entry of that id waits; nothing changed
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local value = redis.call('HGET', q.entries, entry_id)
local _, _, place, level, key = header_of(value)
if not key then return {'elsewhere'} end

if redis.pcall('ZREM', ready_of(q, level, key), entry_id) == 1 then
  drop_ready(q, key, level, 1)
elseif not remove_delayed(q, key, place .. entry_id) then
  return {'elsewhere'}
end
redis.call('HDEL', q.entries, entry_id)
begin_epochs(q)
save(q)
return {'cancelled', value}
