-- retry_dead: put a dead letter back as if just stored.
--
-- NEEDS  places
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        entry_id   str
-- GIVES  retried          it waits, with a new number and no deliveries
--        elsewhere        it is no dead letter, or one whose record cannot be read;
--                         nothing changed
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local value = redis.call('HGET', q.entries, entry_id)
local _, expires, _, key, message_at = header_of(value)
if not key or redis.call('ZREM', q.dead, entry_id) == 0 then return {'elsewhere'} end

redis.call('HDEL', q.reasons, entry_id)
redis.call('HSET', q.entries, entry_id,
  entry_of(0, expires, '-', key, string.sub(value, message_at)))
q.sequence = q.sequence + 1
add_ready(q, key, q.sequence, entry_id)
save(q)
wake(q)
return {'retried'}
