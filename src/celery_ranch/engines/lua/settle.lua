-- settle: record what became of leases.
--
-- NEEDS  leases
-- KEYS   base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        dead_limit num   how many dead letters a queue keeps
--        deliveries num   how many an entry may have
--        worker     str
--        outcome... str   of each outcome six: its queue's place among the bases
--                         (from 1), kind, entry id, lease number, delay in
--                         microseconds, reason
-- GIVES  settled place...   all but those at the places (from 1), whose leases are
--                           not the worker's, or cannot be read: they changed nothing
now = time_of(now)
make_room(KEYS[first_base])

local opened = {}
for at = first_outcome, #ARGV, 6 do
  local place, number = tonumber(ARGV[at]), ARGV[at + 3]
  local q = opened[place]
  if not q then
    q = open(KEYS[first_base + place - 1])
    q.numbers, q.leases, q.gone_ids = {}, {}, {}
    opened[place] = q
  end
  q.numbers[#q.numbers + 1] = number
end
for _, q in pairs(opened) do
  for first = 1, is_sound(q) and #q.numbers or 0, 1000 do
    local last = math.min(first + 999, #q.numbers)
    -- Refused, it has none: then nothing is said of any lease.
    local held = redis.pcall('HMGET', held_of(q, worker), unpack(q.numbers, first, last))
    for i, value in ipairs(held) do
      local number = q.numbers[first + i - 1]
      q.leases[number] = lease_of(number, value)
    end
  end
end

local function acknowledge(q, lease)
  if lease.state ~= 'acknowledged' then q.gone_ids[#q.gone_ids + 1] = lease.id end
end

local reports = {}
function reports.started(_, lease)
  if lease.state == 'leased' then lease.state = 'started' end
end
function reports.acknowledged(q, lease)
  acknowledge(q, lease)
  lease.is_gone = lease.state == 'finished'
  lease.state = 'acknowledged'
end
function reports.finished(q, lease)
  lease.is_gone = lease.state == 'acknowledged'
  free(q, lease)
  lease.state = 'finished'
end
function reports.completed(q, lease)
  acknowledge(q, lease)
end
function reports.released(q, lease, delay)
  release(q, lease, delay > 0 and now + delay or nil)
end
function reports.requeued(q, lease)
  requeue(q, lease, true, now, deliveries, dead_limit)
end
function reports.dead(q, lease, _, reason)
  local count = header_of(redis.call('HGET', q.entries, lease.id)) or 0
  bury(q, lease.id, lease.key, count, reason, now, dead_limit)
end

local stays = {started = true, acknowledged = true, finished = true}
local reply = {'settled'}
for at = first_outcome, #ARGV, 6 do
  local q, kind, number = opened[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 3]
  local lease = q.leases[number]
  if not lease or lease.is_gone or lease.id ~= ARGV[at + 2] then
    reply[#reply + 1] = (at - first_outcome) / 6 + 1
  else
    local was_acknowledged = lease.state == 'acknowledged'
    if stays[kind] or not was_acknowledged then
      reports[kind](q, lease, tonumber(ARGV[at + 4]), ARGV[at + 5])
    end
    if not stays[kind] then
      lease.is_gone = true
      free(q, lease)
    end
    lease.is_changed = true
  end
end

for _, q in pairs(opened) do
  local gone, changed = {}, {}
  for number, lease in pairs(q.leases) do
    if lease.is_gone then
      gone[#gone + 1] = number
    elseif lease.is_changed then
      changed[#changed + 1] = number
      changed[#changed + 1] = held_text(lease.state, lease.sequence, lease.id, lease.key)
    end
  end
  write('HDEL', q.entries, q.gone_ids)
  write('HDEL', held_of(q, worker), gone)
  write('HSET', held_of(q, worker), changed)
  if #gone > 0 or #changed > 0 then settle_epoch(q) end
  save(q)
  if q.is_given_back then wake(q) end
end
return reply
