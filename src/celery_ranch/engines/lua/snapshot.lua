-- snapshot: count what a queue has.
--
-- NEEDS  timers
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
-- GIVES  counts waiting delayed leased dead workers next_due   next_due:
--                         microseconds from now, or -1
now = time_of(now)
local q = open(base)
local waiting, leased = 0, 0
for _, race in ipairs(q.order) do
  waiting, leased = waiting + race.waiting, leased + race.in_service
end
local due = first_due(q)
return {
  'counts', waiting, q.delayed, leased, redis.call('ZCARD', rare(q, 'dead')),
  redis.call('ZCOUNT', q.workers, '(' .. text(now), '+inf'),
  due and math.max(0, due - now) or -1,
}
