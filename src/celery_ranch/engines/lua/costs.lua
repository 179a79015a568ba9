-- costs: what entries are thought to cost, and did cost, and whom they are charged.
--
-- NEEDS  growth, charging
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  estimate_of(q, node)   what the next entry of a key is thought to cost
--        correct(q, lease, run_us)  charge nodes what an entry did cost, and not what
--                               it was thought to; run_us: nil if it was not measured
--        read_nodes(q)          those of q.leases, which limits will be judged of
--
-- All in millionths; as scheduling/costs.py has it.
local FIRST_ESTIMATE = 1000000
local MAX_COST = 1000000000000

local function estimate_of(q, node)
  if node.estimate then return node.estimate end
  return q.estimate > 0 and q.estimate or FIRST_ESTIMATE
end

local function moved(estimate, cost)
  if estimate == 0 then return cost end
  return estimate + math.floor((cost - estimate) / 8)
end

local function learn(q, node, cost)
  node.estimate, node.is_changed = moved(node.estimate or 0, cost), true
  q.estimate = moved(q.estimate, cost)
end

-- What started and was not measured keeps its charge; what never did costs nothing.
local function correct(q, lease, run_us)
  local cost = run_us or lease.state == 'leased' and 0
  if not cost then return end
  cost = math.min(cost, MAX_COST)
  local name = lease.leaf
  repeat
    local node = node_of(q, name)
    local race, stand = race_of(q, lease.level, node.parent), stand_of(node, lease.level)
    local s = present(race, stand) + charge(node.share, cost) - charge(node.share, lease.charged)
    stand_at(race, node, stand, s, take_out(race, node, stand))
    name = node.parent
  until name == ''
  if cost > 0 then learn(q, known(q, key_of(lease.leaf)), cost) end
end

-- All nodes that the leases of a queue will come to, in one reading.
local function read_nodes(q)
  local names, is_named = {}, {}
  for _, lease in pairs(q.leases) do
    local name = lease.leaf
    repeat
      if not is_named[name] then
        is_named[name] = true
        names[#names + 1] = name
      end
      name = parent_of(name)
    until name == ''
  end
  for first = 1, #names, 1000 do
    local last = math.min(first + 999, #names)
    local records = redis.call('HMGET', q.nodes, unpack(names, first, last))
    for i, record in ipairs(records) do read_node(q, names[first + i - 1], record) end
  end
end
