-- room: how much waits at a node, and how much may.
--
-- NEEDS  policies
-- KEYS   none
-- ARGV   none
-- GIVES  waiting_below(q, name)   how many entries of a node and below it wait, delayed
--                                 ones included
--        most_waiting(q, name)    how many may; 0: any number
local function waiting_below(q, name)
  local node, waiting = node_of(q, name), 0
  if node.children > 0 then
    for level = 0, 10 do waiting = waiting + race_of(q, level, name).waiting end
    return waiting + node.delayed
  end
  for _, stand in ipairs(node) do
    waiting = waiting + size_of(ready_of(q, stand.level, name))
  end
  return waiting + size_of(delayed_of(q, name))
end

local function most_waiting(q, name)
  local limits = limits_of(q, name)
  return limits and math.max(0, limits.backlog) or 0
end
