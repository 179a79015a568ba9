-- choosing: whose turn it is, and what taking it costs.
--
-- NEEDS  tree, charging
-- KEYS   none
-- ARGV   level_floor num  what a level that waits is sure of, in millionths
-- GIVES  choose(queues)           queue and level whose turn it is. q.way has the nodes
--                                 chosen from the root to a leaf, q.way_races the races
--                                 that they run in, q.depth their number; all are taken
--                                 out of their indexes. Nothing if no index has any
--        take_first(q, leaf, key, level, now)  the leaf's first entry, out of its line:
--                                 id, sequence, value, cost; leasable, expired,
--                                 unreadable, or none if the index was wrong about it
--        serve(q, key, level, cost, now)  charge the nodes for one, and put them back
--                                 where they have work
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

local function first_race(q)
  local order = q.order
  for at = 1, #order do
    -- With a floor it matters which others are eligible; else it is found by trying.
    if level_floor > 0 then order[at].is_dry = is_empty(order[at]) end
  end
  for at = 1, #order do
    if not order[at].is_dry then return order[at] end
  end
  return nil
end

-- The one with most credit, if that is a whole one; what is eligible is noted.
local function owed_race(q, first)
  local owed = first
  q.eligible = {}
  for _, race in ipairs(q.order) do
    q.eligible[race.level] = not race.is_dry
    if not race.is_dry and race.credit > owed.credit then owed = race end
  end
  return owed.credit >= 1000000 and owed or first
end

local function count_dispatch(q, level)
  for _, race in ipairs(q.order) do
    race.credit = q.eligible[race.level] and race.credit + level_floor or 0
  end
  local race = q.levels[level]
  race.credit = math.max(0, race.credit - 1000000)
end

-- From a child of the root down to a leaf. Below a damaged node may be nobody.
local function descend(q, race, member)
  local node = node_of(q, string.sub(member, 18))
  q.way[1], q.way_races[1], q.depth = node, race, 1
  while node.children > 0 do
    race = race_of(q, race.level, node.name)
    member = first_of(race)
    if not member then return end
    node = node_of(q, string.sub(member, 18))
    q.depth = q.depth + 1
    q.way[q.depth], q.way_races[q.depth] = node, race
  end
end

local function choose(queues)
  while true do
    local q, race
    for at = 1, #queues do
      local other = queues[at]
      local first = first_race(other)
      if first and (not q or first.level < race.level
        or first.level == race.level and other.turn < q.turn) then
        q, race = other, first
      end
    end
    if not q then return nil end
    if level_floor > 0 then race = owed_race(q, race) end
    local member = first_of(race)
    if member then
      descend(q, race, member)
      return q, race.level
    end
    race.is_dry = true
  end
end

-- Expiry and cost: what leasing needs of the header (see places.lua).
local function terms_of(value)
  if not value then return nil end
  local expires, cost, size, at = string.match(value, '^%d+ (%S+) %S+ %d+ (%S+) (%d+) ()')
  if at and at + tonumber(size) <= #value + 1 then return expires, cost end
  return nil
end

local function take_first(q, leaf, key, level, now)
  local head = leaf.children == 0 and redis.pcall('ZPOPMIN', ready_of(q, level, key)) or {}
  local id = head[1]
  if not id then return nil, nil, nil, nil, 'none' end
  local value = redis.call('HGET', q.entries, id)
  local expires, cost = terms_of(value)
  local state = 'leasable'
  if not expires then
    state = 'unreadable'
  elseif expires ~= '-' and tonumber(expires) <= now then
    state = 'expired'
  end
  return id, tonumber(head[2]), value, cost, state
end

local function serve(q, key, level, cost, now)
  local has_more = redis.call('EXISTS', ready_of(q, level, key)) == 1
  for at = q.depth, 1, -1 do
    local node, race = q.way[at], q.way_races[at]
    local stand = stand_of(node, level)
    local s = stand.epoch == race.epoch and stand.s or present(race, stand)
    if s > race.v then race.v = s end
    stand.s = s + (node.share == 1 and cost or charge(node.share, cost))
    stand.epoch, stand.served, stand.number = race.epoch, 1, q.number
    node.at, node.is_changed = now, true
    race.is_served, race.is_changed = true, true
    if has_more then put(race, node, stand) end
    has_more = at > 1 and (has_more or not is_empty(race))
  end
end
