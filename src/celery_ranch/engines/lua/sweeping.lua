-- sweeping: forget keys that have been idle for long.
--
-- NEEDS  tree
-- KEYS   none
-- ARGV   none
-- GIVES  sweep(q, reaping, now, idle_us, limit)  look at about `limit` keys, from where the
--                                       last sweep of this queue ended
local function is_forgettable(q, key, node, now, idle_us)
  return node.share == 1 and node.paused == 0
    and (node.at == 0 or node.at + idle_us <= now)
    and present(q, node) <= q.v
    and redis.call('EXISTS', ready_of(q, key), delayed_of(q, key)) == 0
end

local function sweep(q, reaping, now, idle_us, limit)
  local cursor = redis.call('HGET', reaping, q.base) or '0'
  if not string.match(cursor, '^%d+$') then cursor = '0' end
  local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', math.max(1, limit))
  for i = 1, #scan[2], 2 do
    local key = scan[2][i]
    if is_forgettable(q, key, node_of(q, key), now, idle_us) then
      redis.call('HDEL', q.nodes, key)
      q.loaded[key] = nil
    end
  end
  if scan[1] ~= cursor then redis.call('HSET', reaping, q.base, scan[1]) end
end
