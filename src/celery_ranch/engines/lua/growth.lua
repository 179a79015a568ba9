-- growth: nodes that come and go, race and are blocked.
--
-- NEEDS  tree
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  take_out(race, node, stand)  out of the index; whether it was there
--        stand_at(race, node, stand, s, is_in)  give it another S, in the index or out
--        enter(q, node, level)   let a node race that has work again, at max(v, S),
--                                and so those above it that had none
--        leave(q, node, level)   the reverse
--        has_work(q, node, level)  whether something can be served through a node,
--                                were it not blocked
--        PAUSED, FULL, PACED, WITHDRAWN  why a node is blocked: by hand, by its
--                                concurrency, by its rate, until it is swept
--        is_blocked(node, reason)
--        block(q, node, reason)  take it out of its races
--        unblock(q, node, reason)  take a reason away; whether it races again
--        known(q, name)          a node that is remembered from now on, with all above
--        leaf_of(q, key)         where the key's entries wait
--        forget(q, node)         drop all memory of a node without children
--
-- A node with work at a level has a stand there, blocked or not.
local PAUSED = 1
local FULL = 2
local PACED = 4
local WITHDRAWN = 128

local function take_out(race, node, stand)
  return redis.pcall('ZREM', index_of(race, stand.epoch), member_of(node.name, stand)) == 1
end

local function stand_at(race, node, stand, s, is_in)
  stand.s, stand.epoch, node.is_changed = math.max(0, s), race.epoch, true
  if is_in then put(race, node, stand) end
end

-- Whether a child that was just put there is the only one.
local function is_alone(race)
  return redis.call('ZCARD', index_of(race, race.epoch)) == 1
    and (race.shifted == 0 or redis.call('EXISTS', index_of(race, race.epoch - 1)) == 0)
end

local function join(q, node, level)
  local race, stand = race_of(q, level, node.parent), stand_of(node, level)
  stand.s, stand.epoch = math.max(race.v, present(race, stand)), race.epoch
  if stand.number == 0 then
    race.arrival = race.arrival + 1
    stand.number = race.arrival
    race.is_changed = true
  end
  node.is_changed = true
  put(race, node, stand)
  return race
end

local function enter(q, node, level)
  while node.blocks == 0 do
    local race = join(q, node, level)
    if node.parent == '' or not is_alone(race) then return end
    node = node_of(q, node.parent)
  end
  stand_of(node, level)
end

local function leave(q, node, level)
  while true do
    local race, stand = race_of(q, level, node.parent), stand_of(node, level)
    if not take_out(race, node, stand) then return end
    if node.parent == '' or not is_empty(race) then return end
    node = node_of(q, node.parent)
  end
end

local function is_blocked(node, reason)
  return bit.band(node.blocks, reason) > 0
end

local function block(q, node, reason)
  if is_blocked(node, reason) then return end
  if node.blocks == 0 then
    for _, stand in ipairs(node) do leave(q, node, stand.level) end
  end
  node.blocks, node.is_changed = node.blocks + reason, true
end

local function has_work(q, node, level)
  if node.children > 0 then return not is_empty(race_of(q, level, node.name)) end
  return redis.call('EXISTS', ready_of(q, level, key_of(node.name))) == 1
end

local function unblock(q, node, reason)
  if not is_blocked(node, reason) then return false end
  node.blocks, node.is_changed = node.blocks - reason, true
  if node.blocks > 0 then return false end
  for _, stand in ipairs(node) do
    if has_work(q, node, stand.level) then enter(q, node, stand.level) end
  end
  return true
end

local function adopt(q, parent, child)
  child.is_known, child.is_changed = true, true
  parent.children, parent.is_changed = parent.children + 1, true
  q.paths = q.paths + 1
end

-- What waits at a leaf waits at an anonymous child of it, once it has another.
local function make_inner(q, node)
  node.delayed = size_of(delayed_of(q, node.name))
  for _, stand in ipairs(node) do
    local waiting = size_of(ready_of(q, stand.level, node.name))
    if waiting > 0 then
      local own, race = node_of(q, node.name .. '\31'), race_of(q, stand.level, node.name)
      if not own.is_known then adopt(q, node, own) end
      race.waiting, race.is_changed = waiting, true
      join(q, own, stand.level)
    end
  end
end

local function known_below(q, node, parent)
  if parent.children == 0 and key_of(node.name) == node.name then make_inner(q, parent) end
  adopt(q, parent, node)
  return node
end

local function known(q, name)
  local node = node_of(q, name)
  if node.is_known then return node end
  if node.parent ~= '' then return known_below(q, node, known(q, node.parent)) end
  node.is_known, node.is_changed = true, true
  return node
end

local function leaf_of(q, key)
  local node = known(q, key)
  if node.children == 0 then return node end
  return known(q, key .. '\31')
end

local function forget(q, node)
  redis.call('HDEL', q.nodes, node.name)
  q.loaded[node.name] = nil
  if node.parent == '' then return end
  q.paths = q.paths - 1
  local parent = node_of(q, node.parent)
  parent.children, parent.is_changed = math.max(0, parent.children - 1), true
  if parent.children > 0 then return end
  -- Its own entries are an anonymous child's no longer: there are none.
  for level = 0, 10 do
    local field = string.format('%02.0f', level) .. parent.name
    if q.inner then q.inner[field] = nil end
    redis.pcall('HDEL', rare(q, 'races'), field)
  end
end
