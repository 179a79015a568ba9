-- reap: take back what workers held that stopped beating.
--
-- NEEDS  leases, returns, sweeping, withdrawals
-- KEYS   queues     zset  names of the queues that ever held an entry
--        reaping    hash  last: when reaping ran last; until: it holds back; and of
--                         each queue where its last sweep ended
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        lease_us   num   how long a worker is trusted, microseconds
--        dead_limit num   how many dead letters a queue keeps
--        deliveries num   how many an entry may have
--        idle_us    num   how long an idle key is remembered, microseconds
--        most_abandoned num  how many withdrawals of a queue to tell of
--        limit      num   how many entries to take; how many keys of a queue to look at
-- GIVES  reaped released requeued freed dead more withdrawal...   counts; more: 1 if
--                         leases are left; of each withdrawal that nobody works on two:
--                         queue and number
now = time_of(now)
make_room(queues)

local times = redis.call('HMGET', reaping, 'last', 'until')
local last, hold = tonumber(times[1] or ''), tonumber(times[2] or '')
if not last or (now - last) * 3 > lease_us then
  hold = now + lease_us
  redis.call('HSET', reaping, 'until', text(hold))
end
redis.call('HSET', reaping, 'last', text(now))
local is_held_back = hold and now < hold

local counts = {released = 0, requeued = 0, freed = 0, dead = 0}

local function take_back(q, lease)
  free(q, lease, nil, now)
  if lease.state == 'acknowledged' then return 'freed' end
  if lease.state == 'leased' then
    release_suspect(q, lease, now)
    return 'released'
  end
  return requeue(q, lease, false, now, deliveries, dead_limit)
end

-- Up to `limit` leases of one dead worker; whether it has no more.
local function reap_worker(q, name)
  local held = held_of(q, name)
  if is_mistyped(redis.pcall('HLEN', held)) then redis.call('DEL', held) end
  local found = limit > 0 and redis.call('HSCAN', held, '0', 'COUNT', limit)[2] or {}
  local leases = {}
  for i = 1, #found, 2 do
    local lease = tonumber(found[i]) and lease_of(found[i + 1])
    if lease then
      lease.number = found[i]
      leases[#leases + 1] = lease
    else
      -- Nothing can be taken back by it; it would be looked at for ever.
      redis.call('HDEL', held, found[i])
    end
  end
  table.sort(leases, function(a, b) return tonumber(a.number) < tonumber(b.number) end)
  for i = 1, math.min(limit, #leases) do
    local word = take_back(q, leases[i])
    counts[word] = counts[word] + 1
    redis.call('HDEL', held, leases[i].number)
    limit = limit - 1
  end
  return redis.call('EXISTS', held) == 0
end

local function reap_queue(q)
  while true do
    local dead = redis.call('ZRANGEBYSCORE', q.workers, '-inf', now, 'LIMIT', 0, 1)[1]
    if not dead then return 0 end
    if reap_worker(q, dead) then
      redis.call('ZREM', q.workers, dead)
    elseif limit == 0 then
      return 1
    end
  end
end

local left = {}
local function find_abandoned(q, name)
  if redis.call('EXISTS', rare(q, 'withdrawals')) == 0 then return end
  for _, number in ipairs(abandoned(q, now, most_abandoned)) do
    left[#left + 1] = name
    left[#left + 1] = number
  end
end

local most_keys, more = limit, 0
for _, name in ipairs(redis.call('ZRANGE', queues, 0, -1)) do
  local q = open(base_of(queues, name))
  if is_sound(q) then
    if not is_held_back then
      more = math.max(more, reap_queue(q))
      find_abandoned(q, name)
    end
    begin_epochs(q)
    end_services(q)
    sweep(q, reaping, now, idle_us, most_keys)
    save(q)
    q.due_before = nil
    if q.is_given_back or q.is_unblocked then wake(q) end
  end
end
return {
  'reaped', counts.released, counts.requeued, counts.freed, counts.dead, more, unpack(left),
}
