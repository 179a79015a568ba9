-- due: what happens when a time has come.
--
-- NEEDS  places, withdrawals
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  bring_due(q, now)      let the entry or the node be eligible that is first
local function fire(q, member)
  drop_time(q, member)
  local node = node_of(q, string.sub(member, 18))
  if node.limits and padded(node.limits.timer) == string.sub(member, 1, 16) then
    node.limits.due, node.limits.timer, node.is_changed = 0, 0, true
    unblock(q, node, PACED)
  end
end

local function bring_entry(q, key, head, now)
  local member = head[1]
  local sequence, level = tonumber(string.sub(member, 1, 16)), string.byte(member, 18)
  redis.call('ZREM', delayed_of(q, key), member)
  set_timer(q, key, head)
  count_delayed(q, key, -1)
  local is_fresh = string.sub(member, 17, 17) == 'n'
  if not sequence or is_fresh and not is_withdrawing(q, key) then sequence = next_sequence(q) end
  refresh(q, key, now)
  level = level and level >= 48 and level <= 58 and level - 48 or 5
  add_ready(q, key, level, sequence, string.sub(member, 19))
end

local function bring_due(q, now)
  local member = q.first_timer
  local key = string.sub(member, 17)
  if string.byte(key) == 31 then return fire(q, member) end
  local head = first_delayed(q, key)
  if head[1] and tonumber(head[2]) <= now then return bring_entry(q, key, head, now) end
  -- A damaged timer: it would come first for ever.
  drop_time(q, member)
  set_timer(q, key, {})
end
