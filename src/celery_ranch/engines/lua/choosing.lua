-- choosing: whose turn it is, and what taking it costs.
--
-- NEEDS  tree, charging, levels, descent
-- KEYS   none
-- ARGV   level_floor num  what a level that waits is sure of, in millionths
-- GIVES  choose(queues)           queue and level whose turn it is. q.way has the nodes
--                                 chosen from the root to a leaf, q.way_races the races
--                                 that they run in, q.depth their number; all are taken
--                                 out of their indexes. Nothing if no index has any
--        take_first(q, leaf, key, level, now)  the leaf's first entry, out of its line:
--                                 id, sequence, value, cost; leasable, expired,
--                                 unreadable, or none if the index was wrong about it
--        terms_of(value)          an entry's expiry ('-': none) and cost ('-': 1, 'm':
--                                 measured); nil if they cannot be read
--        serve(q, key, level, cost, now)  charge the nodes for one, and put them back
--                                 where they have work
local function first_race(q)
  if level_floor > 0 then see_levels(q) end
  local order = q.order
  for at = 1, #order do
    if not order[at].is_dry then return order[at] end
  end
  return nil
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
      local node = node_of(q, string.sub(member, 18))
      q.way[1], q.way_races[1], q.depth = node, race, 1
      if node.children > 0 then descend(q, race.level, node) end
      return q, race.level
    end
    race.is_dry = true
  end
end

local function terms_of(value)
  if not value then return nil end
  local expires, cost, size, at = string.match(value, '^%d+ (%S+) %S+ %S+ %d+ (%S+) (%d+) ()')
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
    if race.v >= tag_limit then q.is_to_shift = true end
    if has_more then put(race, node, stand) end
    has_more = at > 1 and (has_more or not is_empty(race))
  end
end
