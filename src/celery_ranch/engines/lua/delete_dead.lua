-- delete_dead: drop a dead letter for good.
--
-- NEEDS  reviving
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   entry_id   str
-- GIVES  deleted          it is gone from the store
--        elsewhere        it is no dead letter; nothing changed
local q = names_of(base)
return {drop_dead(q, entry_id) and 'deleted' or 'elsewhere'}
