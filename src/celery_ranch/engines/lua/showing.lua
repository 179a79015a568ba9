-- showing: a key as those see it who look at it.
--
-- NEEDS  policies
-- KEYS   none
-- ARGV   none
-- GIVES  show(q, reply, key, node)  add eight: key, waiting, delayed, share, 1 if paused,
--                               when last leased in microseconds or 0, in service, tags
local function show(q, reply, key, node)
  local waiting = 0
  for _, stand in ipairs(node) do
    waiting = waiting + redis.call('ZCARD', ready_of(q, stand.level, key))
  end
  local share = node.is_known and node.share or holding(q, key).share
  local at = #reply
  reply[at + 1] = key
  reply[at + 2] = waiting
  reply[at + 3] = redis.call('ZCARD', delayed_of(q, key))
  reply[at + 4] = string.format('%.17g', share)
  reply[at + 5] = is_blocked(node, PAUSED) and 1 or 0
  reply[at + 6] = node.at
  reply[at + 7] = node.in_service
  reply[at + 8] = q.version > 0 and tags_of(q, key) or {}
end
