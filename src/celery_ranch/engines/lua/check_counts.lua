-- check_counts: compare a queue's counters and leases with what there is.
--
-- NEEDS  checking
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        limit      num   how many keys at most to add up the backlogs of
-- GIVES  checked 0 wrong...  of each thing found wrong three: kind, name, detail
local q = open(base)

local function compare(name, counted, actual)
  if counted ~= actual then
    found('wrong count', name, text(counted) .. ' counted, ' .. text(actual) .. ' found')
  end
end

local taken, unacknowledged = 0, 0
each_lease(q, function(state, id, worker)
  if state ~= 'finished' then taken = taken + 1 end
  if state == 'acknowledged' then return end
  unacknowledged = unacknowledged + 1
  if redis.call('HEXISTS', q.entries, id) == 0 then
    found('no entry', id, 'a lease of worker ' .. worker)
  end
end)
compare('leased', q.leased, taken)
local dead = redis.call('ZCARD', q.dead)
compare('entries', q.waiting + q.delayed + dead + unacknowledged, redis.call('HLEN', q.entries))
compare('reasons', dead, redis.call('HLEN', q.reasons))

-- More keys than can be looked at in one instant cannot be added up.
if redis.call('HLEN', q.nodes) <= limit then
  local waiting, delayed = 0, 0
  for _, key in ipairs(redis.call('HKEYS', q.nodes)) do
    waiting = waiting + redis.call('ZCARD', ready_of(q, key))
    delayed = delayed + redis.call('ZCARD', delayed_of(q, key))
  end
  compare('waiting', q.waiting, waiting)
  compare('delayed', q.delayed, delayed)
end

local tokens = redis.call('LLEN', q.wake)
if tokens > 1 then found('too many tokens', '', text(tokens)) end
local over = index_of(q, q.epoch - 1 - q.shifted)
if redis.call('EXISTS', over) == 1 then found('stray index', over) end
if q.sequence > 0 and not redis.call('ZSCORE', queues, queue_of(queues, base)) then
  found('unlisted queue', '')
end
return reply
