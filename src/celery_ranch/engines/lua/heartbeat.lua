-- heartbeat: keep all leases of a worker for another while.
--
-- NEEDS  names
-- KEYS   queues     zset  names of the queues that ever held an entry
-- ARGV   now        num   microseconds; negative: the server's clock
--        lease_us   num   how long, in microseconds
--        worker     str
-- GIVES  kept             some queue knows the worker
--        unknown          none does: it never leased, or was reaped
now = time_of(now)
make_room(queues)

local reply = 'unknown'
for _, name in ipairs(redis.call('ZRANGE', queues, 0, -1)) do
  local workers = names_of(base_of(queues, name)).workers
  if type(redis.pcall('ZSCORE', workers, worker)) == 'string' then
    redis.call('ZADD', workers, now + lease_us, worker)
    reply = 'kept'
  end
end
return {reply}
