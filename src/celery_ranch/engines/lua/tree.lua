-- tree: the nodes of a queue, and whose turn it is among the children of each.
--
-- NEEDS  records
-- KEYS   none
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
-- GIVES  add(command, key, first, second)  one item for a key, whatever was there
--        size_of(set)            how many members; 0 where something else is
--        present(race, stand)    its S in the present epoch
--        index_of(race, epoch)   zset: served, number, child -> S
--        put(race, node, stand)  into the index, at the place that the stand says
--        take_out(race, node, stand)  whether it was there
--        stand_at(race, node, stand, s, is_in)  give it another S, in the index or out
--        is_empty(race)          whether nobody can be chosen
--        has_work(q, node, level)  whether something can be served through a node,
--                                were it not blocked
--        is_leasable(q)          whether anything is in an index of the root
--        enter(q, node, level)   let a node race that has work again, at max(v, S),
--                                and so those above it that had none
--        leave(q, node, level)   the reverse
--        PAUSED, FULL, PACED     why a node is blocked: by hand, by its concurrency,
--                                by its rate
--        is_blocked(node, reason)
--        block(q, node, reason)  take it out of its races
--        unblock(q, node, reason)  take a reason away; whether it races again
--        known(q, name)          a node that is remembered from now on, with all above
--        leaf_of(q, key)         where the key's entries wait
--        forget(q, node)         drop all memory of a node without children
--        count_waiting(q, leaf, level, more)  of all races above a leaf, by its name
--        begin_epochs(q)         in the races of q.ended where nothing waits and runs
--        shift(race)             bring tags down before they leave the exact range
--
-- The rule is that of scheduling/fairness.py and race.py; a test compares the two.
-- A node with work at a level has a stand there, blocked or not.

-- What is of another type there is not ours, and has no entries. Any other
-- refusal is the script's: an entry would be counted and stand nowhere.
local function add(command, key, first, second)
  local reply = redis.pcall(command, key, first, second)
  if type(reply) == 'number' then return end
  if is_mistyped(reply) then redis.call('DEL', key) end
  redis.call(command, key, first, second)
end

local function size_of(set)
  local size = redis.pcall('ZCARD', set)
  return type(size) == 'number' and size or 0
end

-- Never served before served, then by arrival or last-served number.
local function member_of(name, stand)
  return string.format('%.0f%016.0f', stand.served, stand.number) .. name
end

local function index_of(race, epoch)
  if race.index_epoch ~= epoch then
    race.index, race.index_epoch = race.prefix .. text(epoch) .. race.suffix, epoch
  end
  return race.index
end

local function present(race, stand)
  if stand.epoch == race.epoch then return stand.s end
  if race.shifted == 1 and stand.epoch == race.epoch - 1 then
    return math.max(0, stand.s - tag_limit)
  end
  return 0
end

local function put(race, node, stand)
  race.is_dry = false
  add('ZADD', index_of(race, stand.epoch), stand.s, member_of(node.name, stand))
end

local function take_out(race, node, stand)
  return redis.pcall('ZREM', index_of(race, stand.epoch), member_of(node.name, stand)) == 1
end

local function stand_at(race, node, stand, s, is_in)
  stand.s, stand.epoch, node.is_changed = math.max(0, s), race.epoch, true
  if is_in then put(race, node, stand) end
end

local function is_empty(race)
  local index = index_of(race, race.epoch)
  if race.shifted == 0 then return redis.call('EXISTS', index) == 0 end
  return redis.call('EXISTS', index, index_of(race, race.epoch - 1)) == 0
end

local function is_leasable(q)
  for _, race in ipairs(q.order) do
    if not is_empty(race) then return true end
  end
  return false
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

local PAUSED = 1
local FULL = 2
local PACED = 4

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

local function known(q, name)
  local node = node_of(q, name)
  if node.is_known then return node end
  if node.parent == '' then
    node.is_known, node.is_changed = true, true
    return node
  end
  local parent = known(q, node.parent)
  if parent.children == 0 and key_of(name) == name then make_inner(q, parent) end
  adopt(q, parent, node)
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
    q.inner[field] = nil
    redis.pcall('HDEL', q.races, field)
  end
end

local function count_waiting(q, leaf, level, more)
  local parent = leaf
  repeat
    parent = parent_of(parent)
    local race = race_of(q, level, parent)
    race.waiting, race.is_changed = race.waiting + more, true
  until parent == ''
end

local function begin_epochs(q)
  for race in pairs(q.ended) do
    -- The index as well, because a key in that of an epoch that is over is lost.
    if race.waiting <= 0 and race.in_service <= 0 and is_empty(race) then
      race.epoch, race.shifted, race.v, race.is_changed = race.epoch + 1, 0, 0, true
    end
  end
end

local function shift(race)
  if race.v < tag_limit then return end
  if race.shifted == 1 and redis.call('EXISTS', index_of(race, race.epoch - 1)) == 1 then
    return
  end
  race.epoch, race.shifted, race.v, race.is_changed = race.epoch + 1, 1, race.v - tag_limit, true
end
