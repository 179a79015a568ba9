-- retry_dead: put a dead letter back as if just stored.
--
-- NEEDS  reviving
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
local _, _, _, _, key = header_of(value)
if not key or not redis.call('ZSCORE', rare(q, 'dead'), entry_id) then return {'elsewhere'} end

revive(q, entry_id, value, now)
save(q)
q.due_before = nil
wake(q)
return {'retried'}
