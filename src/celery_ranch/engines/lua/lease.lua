-- lease: move entries, in the rule's order, from the backlog to a worker.
--
-- NEEDS  activation, leases, choosing
-- KEYS   turn       str   how many entries were ever leased in this store
--        base...    str   of each queue: what its keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        lease_us   num   how long a worker new to a queue is trusted, microseconds
--        dead_limit num   how many dead letters a queue keeps
--        budget     num   how many may be activated, expired, unreadable or keys that
--                         stand for their turn with nothing to be served
--        limit      num   how many may be leased
--        worker     str
-- GIVES  leased has_more next_due lease...   next_due: microseconds from now, or -1;
--                         of each lease four: its queue's place among the bases
--                         (from 1), entry id, number (negative: expired), entry
--
-- The rule is that of scheduling/fairness.py; a test compares the two.
now = time_of(now)
make_room(KEYS[first_base])

local open_queues, next_due, has_more = {}, -1, 0
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  if is_mistyped(redis.pcall('LLEN', q.wake)) then
    -- Who listens would hear of this alone, and of no queue.
    redis.call('DEL', q.wake)
  end
  if q.sequence > 0 and is_sound(q, worker) then
    redis.call('ZADD', q.workers, 'NX', now + lease_us, worker)
    q.place = at - first_base + 1
    q.held, q.order = {}, #open_queues + 1
    open_queues[q.order] = q
    local due
    budget, due = activate(q, now, budget)
    if due and due <= now then has_more = 1 end
    if due and (next_due < 0 or due - now < next_due) then next_due = math.max(0, due - now) end
  end
end

local reply, leased = {'leased', 0, 0}, 0
local turns = tonumber(redis.call('GET', turn) or 0) or 0

local function hand_over(q, key, id, value, sequence, is_expired)
  q.number = q.number + 1
  q.leased = q.leased + 1
  q.held[#q.held + 1] = text(q.number)
  q.held[#q.held + 1] = held_text('leased', sequence, id, key)
  local at = #reply
  reply[at + 1] = q.place
  reply[at + 2] = id
  reply[at + 3] = is_expired and -q.number or q.number
  reply[at + 4] = value
end

while leased < limit do
  local q, key, node = choose(open_queues)
  if not q then break end
  local id, sequence, value, state = take_first(q, key, now)
  if state == 'none' then
    node.is_changed = node.is_new
    if budget == 0 then
      has_more = 1
      break
    end
    budget = budget - 1
  elseif state == 'leasable' then
    leased, turns = leased + 1, turns + 1
    hand_over(q, key, id, value, sequence, false)
    q.turn = turns
    charge_node(q, node, now)
  elseif budget == 0 then
    put_first(q, key, id, sequence)
    put(q, key, node)
    has_more = 1
    break
  else
    budget = budget - 1
    if state == 'expired' then
      hand_over(q, key, id, value, sequence, true)
    else
      bury(q, id, key, 0, 'unreadable record', now, dead_limit)
    end
  end
  if state ~= 'none' and redis.call('EXISTS', ready_of(q, key)) == 1 then put(q, key, node) end
end

for _, q in ipairs(open_queues) do
  shift(q)
  write('HSET', held_of(q, worker), q.held)
  save(q)
  wake(q)
end
if leased > 0 then redis.call('SET', turn, text(turns)) end
reply[2], reply[3] = has_more, next_due
return reply
