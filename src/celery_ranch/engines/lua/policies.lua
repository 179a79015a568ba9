-- policies: what is set of nodes, and nodes kept to it.
--
-- NEEDS  growth, timers, charging
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  policy_of(q, target)   what was set of one: share, concurrency, interval, burst
--                               and backlog, each -1 where it was not
--        set_policy(q, target, changes, now)  set some of it, for the node at once
--        tags_of(q, name)       a list of a node's tags
--        set_tags(q, name, tags)  the reverse; what they set holds from its next time on
--        count_change(q)        what was set of unnamed nodes is another
--        set_by_hand(q, name)   what would hold for a node without a weight function
--        holding(q, name)       what holds for it
--        limits_of(q, name)     what holds of them for a node now
--        refresh(q, key, now)   let what was set by tags and by default hold for the
--                               nodes of a key
--        started(q, key, now)   count an entry that was served against their rates, and
--                               judge them all
--        judge_all(q, key, now) refresh, then block and unblock them, now that
--                               something was handed out or ended; q.is_unblocked is set
--                               if one came to be below its limits
--
-- A target is 'k' and a node's name, 't' and a tag, or 'd' and a number of parts;
-- 'w' and a node's name: the share that a weight function gave it.
-- Its policy is packed: those five. 0 says that there is no limit although others
-- would set one. A node's limits have as well what its rate has come to: the
-- theoretical arrival time, and when and by which timer it may start again (0: it may).
--
-- The rules are those of scheduling/policies.py, limits.py and memory_nodes.py.
local POLICY = '>ddddd'
local NAMES_OF_LIMITS = {'concurrency', 'interval', 'burst', 'backlog'}

local function no_policy()
  return {share = -1, concurrency = -1, interval = -1, burst = -1, backlog = -1}
end

local function policy_of(q, target)
  local record, policy = redis.call('HGET', rare(q, 'policies'), target), no_policy()
  if record and #record == 40 then
    policy.share, policy.concurrency, policy.interval, policy.burst, policy.backlog =
      struct.unpack(POLICY, record)
  end
  return policy
end

local function tags_of(q, name)
  local record, tags = redis.pcall('HGET', rare(q, 'tags'), name), {}
  if type(record) ~= 'string' then return tags end
  for tag in string.gmatch(record, '[^\31]+') do tags[#tags + 1] = tag end
  return tags
end

local function count_change(q)
  q.version = q.version + 1
end

local function set_tags(q, name, tags)
  if #tags > 0 then
    redis.call('HSET', rare(q, 'tags'), name, table.concat(tags, '\31'))
  else
    redis.call('HDEL', rare(q, 'tags'), name)
  end
  local node = node_of(q, name)
  if q.version == 0 then
    count_change(q)
  elseif node.is_known then
    -- No version is 0, and no other node is concerned.
    node.version, node.is_changed = 0, true
  end
end

local function is_stricter(limit, than)
  if than < 0 then return limit >= 0 end
  return limit > 0 and (than == 0 or limit < than)
end

-- A longer interval is stricter, then a smaller burst.
local function is_slower(policy, than)
  if than.interval < 0 then return policy.interval >= 0 end
  return policy.interval > than.interval
    or policy.interval == than.interval and policy.burst < than.burst
end

local function take_strictest(found, policy)
  found.share = math.max(found.share, policy.share)
  if is_stricter(policy.concurrency, found.concurrency) then
    found.concurrency = policy.concurrency
  end
  if is_stricter(policy.backlog, found.backlog) then found.backlog = policy.backlog end
  if is_slower(policy, found) then
    found.interval, found.burst = policy.interval, policy.burst
  end
end

local function fill_in(policy, others)
  if policy.share < 0 then policy.share = others.share end
  if policy.concurrency < 0 then policy.concurrency = others.concurrency end
  if policy.backlog < 0 then policy.backlog = others.backlog end
  if policy.interval < 0 then
    policy.interval, policy.burst = others.interval, others.burst
  end
end

-- What was set of the node itself goes first, then its tags, then its depth's default.
local function set_by_hand(q, name)
  local policy, tagged = policy_of(q, 'k' .. name), no_policy()
  for _, tag in ipairs(tags_of(q, name)) do take_strictest(tagged, policy_of(q, 't' .. tag)) end
  fill_in(policy, tagged)
  fill_in(policy, policy_of(q, 'd' .. text(#way_of(name))))
  if policy.share < 0 then policy.share = 1 end
  return policy
end

local function holding(q, name)
  local policy, weighed = set_by_hand(q, name), policy_of(q, 'w' .. name)
  if weighed.share >= 0 then policy.share = weighed.share end
  return policy
end

local function lift(q, node, reason)
  if unblock(q, node, reason) then q.is_unblocked = true end
end

local function wait_until(q, node, start, now)
  local limits = node.limits
  if limits.due == start and start > now then return end
  if limits.due > 0 then drop_time(q, padded(limits.timer) .. '\31' .. node.name) end
  node.is_changed = true
  if start <= now then
    limits.due, limits.timer = 0, 0
    lift(q, node, PACED)
  else
    limits.due, limits.timer = start, next_sequence(q)
    set_time(q, padded(limits.timer) .. '\31' .. node.name, start)
    block(q, node, PACED)
  end
end

local function judge(q, node, now)
  local limits = node.limits
  if not limits then return end
  if limits.concurrency > 0 and node.in_service >= limits.concurrency then
    block(q, node, FULL)
  else
    lift(q, node, FULL)
  end
  if limits.interval > 0 then
    wait_until(q, node, limits.arrival - limits.interval * (limits.burst - 1), now)
  else
    limits.arrival = 0
    wait_until(q, node, 0, now)
  end
end

local function set_share(q, node, share)
  local old, new = charge(node.share, 1000000), charge(share, 1000000)
  for _, stand in ipairs(node) do
    local race = race_of(q, stand.level, node.parent)
    local s, is_in = present(race, stand), take_out(race, node, stand)
    -- One that races may be behind by what it was charged too much.
    if s > race.v or is_in then s = race.v + rescaled(s - race.v, old, new) end
    stand_at(race, node, stand, s, is_in)
  end
  node.share, node.is_changed = share, true
end

local function are_limits(limits)
  for _, name in ipairs(NAMES_OF_LIMITS) do
    if limits[name] >= 0 then return true end
  end
  return false
end

local function set_limits(q, node, policy, now)
  local limits = node.limits or {
    concurrency = -1, interval = -1, burst = -1, backlog = -1, arrival = 0, due = 0, timer = 0,
  }
  local is_changed = false
  for _, name in ipairs(NAMES_OF_LIMITS) do
    is_changed = is_changed or limits[name] ~= policy[name]
    limits[name] = policy[name]
  end
  if not is_changed then return end
  node.limits, node.is_changed = limits, true
  if limits.interval > 0 then
    -- A faster rate does not wait for what the slower one would have asked.
    limits.arrival = math.min(limits.arrival, now + limits.interval * limits.burst)
  end
  judge(q, node, now)
  if not are_limits(limits) then node.limits = nil end
end

local function apply(q, node, now)
  node.version, node.is_changed = q.version, true
  local policy = holding(q, node.name)
  if policy.share ~= node.share then set_share(q, node, policy.share) end
  set_limits(q, node, policy, now)
end

local function set_policy(q, target, changes, now)
  local policy = policy_of(q, target)
  for name, value in pairs(changes) do policy[name] = value end
  if policy.share < 0 and not are_limits(policy) then
    redis.call('HDEL', rare(q, 'policies'), target)
  else
    redis.call('HSET', rare(q, 'policies'), target, struct.pack(POLICY, policy.share,
      policy.concurrency, policy.interval, policy.burst, policy.backlog))
  end
  local kind, name = string.sub(target, 1, 1), string.sub(target, 2)
  local is_node = kind == 'k' or kind == 'w'
  if kind == 'k' and changes.share then redis.call('HDEL', rare(q, 'policies'), 'w' .. name) end
  -- What is set of a node concerns no other, but that anything is set does.
  if not is_node or q.version == 0 then count_change(q) end
  if is_node then apply(q, known(q, name), now) end
end

local function limits_of(q, name)
  local node = node_of(q, name)
  if node.version ~= q.version then return holding(q, name) end
  return node.limits
end

local function refresh(q, key, now)
  if q.version == 0 then return end
  for _, name in ipairs(way_of(key)) do
    local node = known(q, name)
    if node.version ~= q.version then apply(q, node, now) end
  end
end

local function judge_all(q, key, now)
  refresh(q, key, now)
  for _, name in ipairs(way_of(key)) do judge(q, node_of(q, name), now) end
end

local function started(q, key, now)
  refresh(q, key, now)
  for _, name in ipairs(way_of(key)) do
    local node = node_of(q, name)
    local limits = node.limits
    if limits and limits.interval > 0 then
      limits.arrival = math.max(limits.arrival, now) + limits.interval
      node.is_changed = true
    end
  end
  judge_all(q, key, now)
end
