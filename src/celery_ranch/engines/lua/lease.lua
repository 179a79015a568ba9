-- lease: move entries, in the rule's order, from the backlog to a worker.
--
-- NEEDS  activation, leases, passing
-- KEYS   turn       str   how many entries were ever leased in this store
--        base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        lease_us   num   how long a worker new to a queue is trusted, microseconds
--        dead_limit num   how many dead letters a queue keeps
--        level_floor num  what a level that waits is sure of, in millionths
--        budget     num   how many may be activated, expired, unreadable or keys that
--                         stand for their turn with nothing to be served
--        limit      num   how many may be leased
--        worker     str
-- GIVES  leased has_more next_due now lease...   next_due: microseconds from now, or -1;
--                         of each lease four: its queue's place among the bases
--                         (from 1), entry id, number (negative: expired), entry
--
-- The rule is that of scheduling/fairness.py; a test compares the two.
now = time_of(now)
make_room(KEYS[first_base])

local open_queues, next_due, has_more = {}, -1, 0
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  q.tokens = redis.pcall('LLEN', q.wake)
  if type(q.tokens) ~= 'number' then
    -- Who listens would hear of this alone, and of no queue.
    redis.call('DEL', q.wake)
    q.tokens = 0
  end
  if q.sequence > 0 and is_sound(q) and counts('HLEN', held_of(q, worker)) then
    redis.call('ZADD', q.workers, 'NX', now + lease_us, worker)
    q.place = at - first_base + 1
    q.held, q.way, q.way_races = {}, {}, {}
    open_queues[#open_queues + 1] = q
    if (first_due(q) or now + 1) <= now then budget = activate(q, now, budget) end
  end
end

local reply, leased = {'leased', 0, 0, now}, 0
local turns = tonumber(redis.call('GET', turn) or 0) or 0

local function hand_over(q, level, id, value, sequence, charged, is_expired)
  q.number = q.number + 1
  for at = 1, q.depth do
    local node, race = q.way[at], q.way_races[at]
    race.waiting, race.in_service, race.is_changed = race.waiting - 1, race.in_service + 1, true
    node.in_service, node.is_changed = node.in_service + 1, true
  end
  local at = #q.held
  q.held[at + 1] = text(q.number)
  q.held[at + 2] = held_text('leased', level, sequence, charged, id, q.way[q.depth].name)
  at = #reply
  reply[at + 1] = q.place
  reply[at + 2] = id
  reply[at + 3] = is_expired and -q.number or q.number
  reply[at + 4] = value
end

while leased < limit do
  local q, level = choose(open_queues)
  if not q then break end
  local leaf = q.way[q.depth]
  local key = key_of(leaf.name)
  local id, sequence, value, cost, state = take_first(q, leaf, key, level, now)
  if state == 'leasable' then
    leased, turns = leased + 1, turns + 1
    q.turn = turns
    if level_floor > 0 then count_dispatch(q, level) end
    local charged = -1
    if cost == 'm' then
      cost = estimate_of(q, node_of(q, key))
      charged = cost
    else
      cost = cost == '-' and 1000000 or tonumber(cost) or 1000000
    end
    hand_over(q, level, id, value, sequence, charged, false)
    serve(q, key, level, cost, now)
    if q.version > 0 then started(q, key, now) end
  elseif budget == 0 then
    put_all_back(q, key, level, id, sequence)
    has_more = 1
    break
  else
    budget = budget - 1
    if state == 'expired' then hand_over(q, level, id, value, sequence, -1, true) end
    pass_over(q, key, level, id, state, now, dead_limit)
  end
end

for _, q in ipairs(open_queues) do
  if q.is_to_shift then shift(q) end
  local due = first_due(q)
  if due and due <= now and budget == 0 then has_more = 1 end
  if due and (next_due < 0 or due - now < next_due) then next_due = math.max(0, due - now) end
  write('HSET', held_of(q, worker), q.held)
  save(q)
  -- Whoever waits was told of times already.
  if q.tokens == 0 and is_leasable(q) then redis.call('LPUSH', q.wake, '1') end
end
if leased > 0 then redis.call('SET', turn, text(turns)) end
reply[2], reply[3] = has_more, next_due
return reply
