-- set_limits: set what may run, start and wait, for a node at once.
--
-- NEEDS  policies
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        target     str   'k' and a node's name, 't' and a tag, or 'd' and a number of parts
--        concurrency num  how many at once; here and below 0: no limit, -1: not set
--        interval   num   microseconds between two starts
--        burst      num   how many may start at once after a pause
--        backlog    num   how many may wait
-- GIVES  limited          the target has the limits
now = time_of(now)
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
set_policy(q, target, {
  concurrency = concurrency, interval = interval, burst = burst, backlog = backlog,
}, now)
save(q)
wake(q)
return {'limited'}
