-- choosing: whose turn it is, and what taking it costs.
--
-- NEEDS  places, costs
-- KEYS   none
-- ARGV   level_floor num  what a level that waits is sure of, in millionths
-- GIVES  choose(queues)           queue and level whose turn it is; q.path has the nodes
--                                 chosen from the root to a leaf, q.depth their number,
--                                 all taken out of their indexes. Nothing if no index
--                                 has any
--        take_first(q, leaf, level, now)  the leaf's first entry, out of its line: id,
--                                 sequence, value, cost; leasable, expired, unreadable,
--                                 or none if the index was wrong about it
--        put_first(q, leaf, level, id, sequence)  back again
--        put_path(q, level, has_more)  the nodes of the path back where they have work;
--                                 has_more: whether the leaf may have
--        hand_out(q, level)       count an entry of the path as in service
--        serve(q, level, cost, now)  charge the nodes of the path for one
--        count_dispatch(q, level) what levels gain and lose by it

-- A shifted epoch's nodes are in two indexes until the old one has run empty.
local function first_of(race)
  if race.shifted == 0 then
    local popped = redis.pcall('ZPOPMIN', index_of(race, race.epoch))
    return popped[1]
  end
  local new = redis.pcall('ZRANGE', index_of(race, race.epoch), 0, 0, 'WITHSCORES')
  local old = redis.pcall('ZRANGE', index_of(race, race.epoch - 1), 0, 0, 'WITHSCORES')
  local chosen, epoch = new[1], race.epoch
  if old[1] then
    local lead = new[1] and tonumber(new[2]) - (tonumber(old[2]) - tag_limit)
    if not lead or lead > 0
      or lead == 0 and string.sub(old[1], 1, 17) < string.sub(new[1], 1, 17) then
      chosen, epoch = old[1], race.epoch - 1
    end
  end
  if chosen then redis.call('ZREM', index_of(race, epoch), chosen) end
  return chosen
end

-- With a floor it matters which others are eligible; else the first is found by trying.
local function first_level(q)
  for _, race in ipairs(q.order) do
    if level_floor > 0 then race.is_dry = is_empty(race) end
  end
  for _, race in ipairs(q.order) do
    if not race.is_dry then return race.level end
  end
  return nil
end

local function next_level(q, first)
  if level_floor == 0 then return first end
  local owed = q.levels[first]
  for _, race in ipairs(q.order) do
    if not race.is_dry and race.credit > owed.credit then owed = race end
  end
  return owed.credit >= 1000000 and owed.level or first
end

local function count_dispatch(q, level)
  if level_floor == 0 then return end
  for _, race in ipairs(q.order) do
    race.credit = q.eligible[race.level] and race.credit + level_floor or 0
  end
  local race = q.levels[level]
  race.credit = math.max(0, race.credit - 1000000)
end

local function note_eligible(q)
  if level_floor == 0 then return end
  q.eligible = {}
  for _, race in ipairs(q.order) do q.eligible[race.level] = not race.is_dry end
end

-- From a child of the root down to a leaf. Below a damaged node may be nobody.
local function descend(q, level, member)
  local node = node_of(q, string.sub(member, 18))
  q.path, q.depth = {node}, 1
  while node.children > 0 do
    member = first_of(race_of(q, level, node.name))
    if not member then return end
    node = node_of(q, string.sub(member, 18))
    q.depth = q.depth + 1
    q.path[q.depth] = node
  end
end

local function choose(queues)
  while true do
    local q, level
    for _, other in ipairs(queues) do
      local first = first_level(other)
      if first and (not q or first < level or first == level and other.turn < q.turn) then
        q, level = other, first
      end
    end
    if not q then return nil end
    note_eligible(q)
    level = next_level(q, level)
    local member = first_of(q.levels[level])
    if member then
      descend(q, level, member)
      return q, level
    end
    q.levels[level].is_dry = true
  end
end

local function take_first(q, leaf, level, now)
  if leaf.children > 0 then return nil, nil, nil, nil, 'none' end
  local head = redis.pcall('ZPOPMIN', ready_of(q, level, key_of(leaf.name)))
  if not head[1] then return nil, nil, nil, nil, 'none' end
  local value = redis.call('HGET', q.entries, head[1])
  local expires, cost = terms_of(value)
  local state = 'leasable'
  if not expires then
    state = 'unreadable'
  elseif expires ~= '-' and tonumber(expires) <= now then
    state = 'expired'
  end
  return head[1], tonumber(head[2]), value, cost, state
end

local function put_first(q, leaf, level, id, sequence)
  redis.call('ZADD', ready_of(q, level, key_of(leaf.name)), sequence, id)
end

local function put_path(q, level, has_more)
  local leaf = q.path[q.depth]
  has_more = has_more and redis.call('EXISTS', ready_of(q, level, key_of(leaf.name))) == 1
  for at = q.depth, 1, -1 do
    local node = q.path[at]
    local race = race_of(q, level, node.parent)
    if has_more then put(race, node, stand_of(node, level)) end
    has_more = at > 1 and (has_more or not is_empty(race))
  end
end

local function hand_out(q, level)
  for at = 1, q.depth do
    local node = q.path[at]
    local race = race_of(q, level, node.parent)
    race.waiting, race.in_service = race.waiting - 1, race.in_service + 1
    node.in_service = node.in_service + 1
    race.is_changed, node.is_changed = true, true
  end
end

local function serve(q, level, cost, now)
  for at = 1, q.depth do
    local node = q.path[at]
    local race, stand = race_of(q, level, node.parent), stand_of(node, level)
    local s = present(race, stand)
    race.v = math.max(race.v, s)
    stand.s, stand.epoch = s + charge(node.share, cost), race.epoch
    stand.served, stand.number = 1, q.number
    race.is_served = true
    if at < q.depth or key_of(node.name) == node.name then node.at = now end
  end
end
