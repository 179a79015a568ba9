-- snapshot: count what a queue has.
--
-- NEEDS  tree
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
-- GIVES  counts waiting delayed leased dead workers next_due   next_due:
--                         microseconds from now, or -1
now = time_of(now)
local q = open(base)
local first = redis.call('ZRANGE', q.timers, 0, 0, 'WITHSCORES')
return {
  'counts', q.waiting, q.delayed, q.leased, redis.call('ZCARD', q.dead),
  redis.call('ZCOUNT', q.workers, '(' .. text(now), '+inf'),
  first[1] and math.max(0, tonumber(first[2]) - now) or -1,
}
