-- sweeping: forget nodes that have been idle for long.
--
-- NEEDS  policies
-- KEYS   none
-- ARGV   none
-- GIVES  sweep(q, reaping, now, idle_us, limit)  look at about `limit` nodes, from where the
--                                       last sweep of this queue ended
local function has_lead(q, node)
  for _, stand in ipairs(node) do
    local race = race_of(q, stand.level, node.parent)
    if present(race, stand) > race.v then return true end
  end
  return false
end

local function has_entries(q, node)
  local key = key_of(node.name)
  local places = {}
  for _, stand in ipairs(node) do places[#places + 1] = ready_of(q, stand.level, key) end
  -- What is delayed of a node with children is the node's, not the anonymous child's.
  if key == node.name then places[#places + 1] = delayed_of(q, key) end
  return #places > 0 and redis.call('EXISTS', unpack(places)) > 0
end

local function is_named(q, name)
  -- Where it cannot be known, something is noted.
  return redis.pcall('HEXISTS', rare(q, 'data'), name) ~= 0 or q.version > 0 and (redis.call('HEXISTS', rare(q, 'policies'), 'k' .. name) == 1
    or redis.call('HEXISTS', rare(q, 'tags'), name) == 1)
end

local function is_forgettable(q, node, now, idle_us)
  return node.children == 0 and node.in_service == 0 and node.blocks == 0
    and (node.at == 0 or node.at + idle_us <= now)
    and not (node.limits and node.limits.arrival > now)
    and not has_lead(q, node) and not has_entries(q, node) and not is_named(q, node.name)
end

local function sweep(q, reaping, now, idle_us, limit)
  local cursor = redis.call('HGET', reaping, q.base) or '0'
  if not string.match(cursor, '^%d+$') then cursor = '0' end
  local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', math.max(1, limit))
  local idle = {}
  for i = 1, #scan[2], 2 do
    local node = read_node(q, scan[2][i], scan[2][i + 1])
    if is_forgettable(q, node, now, idle_us) then idle[#idle + 1] = node end
  end
  for _, node in ipairs(idle) do
    forget(q, node)
    if q.version > 0 then redis.call('HDEL', rare(q, 'policies'), 'w' .. node.name) end
  end
  if scan[1] ~= cursor then redis.call('HSET', reaping, q.base, scan[1]) end
end
