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
local _, _, place, key = header_of(value)
if not key then return {'elsewhere'} end

if redis.call('ZREM', ready_of(q, key), entry_id) == 1 then
  q.waiting = q.waiting - 1
  local node = node_of(q, key)
  if node.paused == 0 and redis.call('EXISTS', ready_of(q, key)) == 0 then leave(q, key, node) end
else
  local old = first_delayed(q, key)
  if redis.call('ZREM', delayed_of(q, key), place .. entry_id) == 0 then return {'elsewhere'} end
  q.delayed = q.delayed - 1
  set_timer(q, key, old)
end
redis.call('HDEL', q.entries, entry_id)
settle_epoch(q)
save(q)
return {'cancelled', value}
