-- costs: what entries are thought to cost, and did cost.
--
-- NEEDS  growth, charging
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  estimate_of(q, node)   what the next entry of a key is thought to cost
--        learn(q, node, cost)   what one did cost
--        correct(q, leaf, level, charged, cost)  charge the nodes above what one did
--                               cost, and not what they were charged
--
-- All in millionths; as scheduling/costs.py has it.
local FIRST_ESTIMATE = 1000000

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

local function correct(q, leaf, level, charged, cost)
  local name = leaf
  repeat
    local node = node_of(q, name)
    local race, stand = race_of(q, level, node.parent), stand_of(node, level)
    local more = charge(node.share, cost) - charge(node.share, charged)
    local s = present(race, stand) + more
    stand_at(race, node, stand, s, take_out(race, node, stand))
    name = node.parent
  until name == ''
end
