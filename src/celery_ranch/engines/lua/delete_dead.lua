-- delete_dead: drop a dead letter for good.
--
-- NEEDS  names
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   entry_id   str
-- GIVES  deleted          it is gone from the store
--        elsewhere        it is no dead letter; nothing changed
local q = names_of(base)
if redis.call('ZREM', rare(q, 'dead'), entry_id) == 0 then return {'elsewhere'} end
redis.call('HDEL', rare(q, 'reasons'), entry_id)
redis.call('HDEL', q.entries, entry_id)
return {'deleted'}
