-- report: keep what a worker counted of the tasks it ran, and what it says of itself.
--
-- NEEDS  records
-- KEYS   queues     zset  names of the queues that ever held an entry
--        reporters  zset  worker -> when it reported last
--        base...    str   of each queue that it serves: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        worker     str
--        facts      str   what it says of itself
--        facts_ms   num   for how long that is kept, in milliseconds
--        most       num   how many counts a bucket has before keys that are new in it
--                         are not told apart
--        is_last    num   1: the worker ends; it is shown no longer
--        count...   str   of each count three: its queue's place among the bases (from
--                         1), field, how many more
-- GIVES  reported
--
-- A queue's counts are in `service:0:0`, which is kept ever, and in one hash for each
-- bucket of time, by its length and start in seconds (see scheduling/service.py). A field
-- is a level, what is counted (f: finished, e: failed, c: cost, W and R: microseconds of
-- waits and runs, w and r with a bin: waits and runs), and of a key, in the shortest
-- buckets only, '/' and its name; without a name: of keys not told apart. Of a bucket, s
-- is how many entries the queue had ever stored when it began, and t is when that was.
now = time_of(now)

-- What is of another type there is not ours.
local function ours(command, key)
  if is_mistyped(redis.pcall(command, key)) then redis.call('DEL', key) end
  return key
end

redis.call('ZADD', ours('ZCARD', reporters), now, worker)
redis.call('ZREMRANGEBYSCORE', reporters, '-inf', now - facts_ms * 1000)
redis.call('SET', worker_of(queues, worker), facts, 'PX', facts_ms)
if is_last == 1 then
  redis.call('ZREM', reporters, worker)
  redis.call('DEL', worker_of(queues, worker))
end

local function bucket(q, seconds, kept_ms)
  local start = math.floor(now / 1000000 / seconds) * seconds
  local name = ours('HLEN', service_of(q, seconds, start))
  redis.call('HSETNX', name, 's', text(q.stored))
  redis.call('HSETNX', name, 't', text(now))
  redis.call('PEXPIRE', name, kept_ms)
  return name
end

local opened = {}
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  if q.stored > 0 then
    q.short = bucket(q, 10, 920000)
    q.long = bucket(q, 60, 21720000)
    q.ever = ours('HLEN', service_of(q, 0, 0))
    q.is_full = redis.call('HLEN', q.short) >= most
  end
  opened[#opened + 1] = q
  -- What it still holds is taken back when its heartbeat has run out.
  if is_last == 1 and redis.call('EXISTS', held_of(q, worker)) == 0 then
    redis.pcall('ZREM', q.workers, worker)
  end
end

for at = first_count, #ARGV, 3 do
  local q, field, amount = opened[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  if q.short then
    local of_no_key = string.match(field, '^%w+/')
    if of_no_key and q.is_full and redis.call('HEXISTS', q.short, field) == 0 then
      field = of_no_key
    end
    redis.call('HINCRBY', q.short, field, amount)
    if not of_no_key then
      redis.call('HINCRBY', q.long, field, amount)
      redis.call('HINCRBY', q.ever, field, amount)
    end
  end
end
return {'reported'}
