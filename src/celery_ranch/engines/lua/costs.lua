-- costs: what entries are thought to cost, and did cost.
--
-- NEEDS  growth, charging
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  estimate_of(q, node)   what the next entry of a key is thought to cost
--        correct(q, lease, run_us)  charge nodes what an entry did cost, and not what
--                               it was thought to; run_us: nil if it was not measured
--
-- All in millionths; as scheduling/costs.py has it.
local FIRST_ESTIMATE = 1000000
local MAX_COST = 1000000000000

local function estimate_of(q, node)
  if node.estimate > 0 then return node.estimate end
  return q.estimate > 0 and q.estimate or FIRST_ESTIMATE
end

local function moved(estimate, cost)
  if estimate == 0 then return cost end
  return estimate + math.floor((cost - estimate) / 8)
end

local function learn(q, node, cost)
  node.estimate, node.is_changed = moved(node.estimate, cost), true
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
