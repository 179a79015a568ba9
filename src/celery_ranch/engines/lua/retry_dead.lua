-- retry_dead: put a dead letter back as if just stored.
--
-- NEEDS  places
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        entry_id   str
-- GIVES  retried          it waits, with a new number and no deliveries
--        elsewhere        it is no dead letter, or one whose record cannot be read;
--                         nothing changed
now = time_of(now)
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
local value = redis.call('HGET', q.entries, entry_id)
local _, expires, _, level, key, rest_at, _, since = header_of(value)
if not key or redis.call('ZREM', rare(q, 'dead'), entry_id) == 0 then return {'elsewhere'} end

redis.call('HDEL', rare(q, 'reasons'), entry_id)
redis.call('HSET', q.entries, entry_id,
  entry_of(0, expires, '-', text(now) .. string.sub(value, rest_at + #since)))
known(q, key)
refresh(q, key, now)
add_ready(q, key, level, next_sequence(q), entry_id)
save(q)
q.due_before = nil
wake(q)
return {'retried'}
