-- room: how much waits at a node, and how much may.
--
-- NEEDS  policies
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  full_node(q, key, is_exempt)  count one entry more that is to wait; the node on
--                                the key's way that has no room for it, and how many may
--                                wait there
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

local function full_node(q, key, is_exempt)
  q.more = q.more or {}
  for _, name in ipairs(way_of(key)) do
    q.more[name] = (q.more[name] or 0) + 1
    local limits = not is_exempt and limits_of(q, name)
    local most = limits and limits.backlog or 0
    if most > 0 and waiting_below(q, name) + q.more[name] > most then return name, most end
  end
  return nil
end
