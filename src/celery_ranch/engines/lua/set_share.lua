-- set_share: set a share, for a node at once also for what waits.
--
-- NEEDS  policies
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        target     str   'k' or 'w' and a node's name, 't' and a tag, or 'd' and a
--                         number of parts
--        share      num   -1: it is set no longer
-- GIVES  shared           the target has the share
now = time_of(now)
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
set_policy(q, target, {share = share}, now)
save(q)
wake(q)
return {'shared'}
