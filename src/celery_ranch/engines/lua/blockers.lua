-- blockers: what holds nodes back.
--
-- NEEDS  places
-- KEYS   none
-- ARGV   none
-- GIVES  add_blockers(reply, q, key, now)  of each that holds back a node of a key, five:
--                               node, why, how many run, how many may, until when
local function add_blocker(reply, name, why, running, limit, due)
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = name, why, running
  reply[at + 4], reply[at + 5] = limit, due
end

local function add_blockers(reply, q, key, now)
  for _, name in ipairs(way_of(key)) do
    local node = node_of(q, name)
    local limits = node.limits
    if is_blocked(node, PAUSED) then add_blocker(reply, name, 'paused', 0, 0, 0) end
    if is_blocked(node, WITHDRAWN) then add_blocker(reply, name, 'being withdrawn', 0, 0, 0) end
    if is_blocked(node, FULL) then
      local limit = limits and limits.concurrency or 0
      add_blocker(reply, name, 'concurrency', node.in_service, limit, 0)
    end
    -- Once its time has come the next lease lets it race.
    if is_blocked(node, PACED) and limits and limits.due > now then
      add_blocker(reply, name, 'rate', 0, 0, limits.due)
    end
  end
  return reply
end
