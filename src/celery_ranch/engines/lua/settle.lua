-- settle: record what became of leases.
--
-- NEEDS  leases, returns
-- KEYS   base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        dead_limit num   how many dead letters a queue keeps
--        deliveries num   how many an entry may have
--        worker     str
--        outcome... str   of each outcome seven: its queue's place among the bases
--                         (from 1), kind, entry id, lease number, delay and run
--                         time in microseconds ('-': not measured), reason
-- GIVES  settled place...   all but those at the places (from 1), whose leases are
--                           not the worker's, or cannot be read: they changed nothing
make_room(KEYS[first_base])

local opened = {}
for at = first_outcome, #ARGV, 7 do
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
      q.leases[number] = lease_of(value)
    end
  end
  if q.version > 0 then
    now = time_of(now)
    read_nodes(q)
  end
end

local function record(q, lease, kind, delay, run_us, reason)
  -- What was due before somebody has a reason to wake is not told again.
  if not q.is_to_wake then q.due_before = nil end
  q.is_unblocked = false
  if kind == 'started' then
    if lease.state == 'leased' then lease.state = 'started' end
  elseif kind == 'acknowledged' then
    if lease.state ~= 'acknowledged' then q.gone_ids[#q.gone_ids + 1] = lease.id end
    lease.is_gone = lease.state == 'finished'
    lease.state = 'acknowledged'
  elseif kind == 'finished' then
    lease.is_gone = lease.state == 'acknowledged'
    free(q, lease, run_us, now)
    lease.state = 'finished'
  else
    free(q, lease, run_us, now)
    lease.is_gone = true
    if lease.state ~= 'acknowledged' and kind == 'completed' then
      q.gone_ids[#q.gone_ids + 1] = lease.id
    elseif lease.state ~= 'acknowledged' then
      now = time_of(now)
      dispose(q, lease, kind, delay, reason, now, deliveries, dead_limit)
    end
  end
  if q.is_unblocked or kind == 'released' or kind == 'requeued' then q.is_to_wake = true end
  lease.is_changed = true
end

local reply = {'settled'}
for at = first_outcome, #ARGV, 7 do
  local q, number = opened[tonumber(ARGV[at])], ARGV[at + 3]
  local lease = q.leases[number]
  if not lease or lease.is_gone or lease.id ~= ARGV[at + 2] then
    reply[#reply + 1] = (at - first_outcome) / 7 + 1
  else
    record(q, lease, ARGV[at + 1], tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), ARGV[at + 6])
  end
end

for _, q in pairs(opened) do
  local gone, changed = {}, {}
  for number, lease in pairs(q.leases) do
    if lease.is_gone then
      gone[#gone + 1] = number
    elseif lease.is_changed then
      changed[#changed + 1] = number
      changed[#changed + 1] = held_text(lease.state, lease.level, lease.sequence,
        lease.charged, lease.id, lease.leaf)
    end
  end
  write('HDEL', q.entries, q.gone_ids)
  write('HDEL', held_of(q, worker), gone)
  write('HSET', held_of(q, worker), changed)
  begin_epochs(q)
  end_services(q)
  save(q)
  if q.is_to_wake then wake(q) end
end
return reply
