-- ahead: how many turns come before that of an entry that waits.
--
-- NEEDS  places, costs
-- KEYS   none
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
-- GIVES  ahead_of(q, key, level, position, cost, most)  how many entries of better levels
--                         and of its own go first, how many worse levels have
--                         something to be served, and how sure that is: 0 exact,
--                         1 at most, 2 about. cost: nil if it is measured
--
-- The rule is that of scheduling/turns.py; a test compares the two.
local EXACT = 0
local AT_MOST = 1
local ABOUT = 2
local LAST_TAG = 2 ^ 53

local function charged(q, node, cost)
  return math.max(1, charge(node.share, cost or estimate_of(q, node_of(q, key_of(node.name)))))
end

-- A shifted race has two indexes, the old one first.
local function indexes_of(race, last_tag)
  local indexes, total = {}, 0
  for epoch = race.epoch - race.shifted, race.epoch do
    local less = (race.epoch - epoch) * tag_limit
    local index = index_of(race, epoch)
    local size = redis.pcall('ZCOUNT', index, '-inf', last_tag and text(last_tag + less) or '+inf')
    size = type(size) == 'number' and size or 0
    indexes[#indexes + 1] = {name = index, less = less, size = size}
    total = total + size
  end
  return indexes, total
end

local function add_places(places, index, first, last)
  first, last = math.max(0, first), math.min(last, index.size - 1)
  if last < first then return end
  local members = redis.call('ZRANGE', index.name, first, last, 'WITHSCORES')
  for at = 1, #members, 2 do
    local member = members[at]
    places[#places + 1] = {
      name = string.sub(member, 18), order = string.sub(member, 1, 17),
      s = math.max(0, tonumber(members[at + 1]) - index.less),
    }
  end
end

-- Of more than `most` some hundred runs, spread over all: to find a rank takes Redis
-- longer than all that is done with what is there.
local function places_of(race, last_tag, most)
  local indexes, total = indexes_of(race, last_tag)
  local places = {}
  local function add_run(first, last)
    for _, index in ipairs(indexes) do
      add_places(places, index, first, last)
      first, last = first - index.size, last - index.size
    end
  end
  if total <= most then
    add_run(0, total - 1)
    return places, total
  end
  local size = math.max(1, math.floor(most / 100))
  local stretches = math.floor(most / size)
  for turn = 0, stretches - 1 do
    local first = math.floor(turn * total / stretches)
    local width = math.floor((turn + 1) * total / stretches) - first
    first = first + turn * 7919 % (width - size + 1)
    add_run(first, first + size - 1)
  end
  return places, total
end

local function read_places(q, places)
  for first = 1, #places, 1000 do
    local names = {}
    for at = first, math.min(first + 999, #places) do names[#names + 1] = places[at].name end
    local records = redis.call('HMGET', q.nodes, unpack(names))
    for at, name in ipairs(names) do read_node(q, name, records[at]) end
  end
end

-- Where a node stands, or would if it entered now; whether it stands there.
local function place_of(race, node, level)
  local stand = stand_of(node, level)
  local s, number = present(race, stand), stand.number
  local index = index_of(race, stand.epoch)
  local is_in = type(redis.pcall('ZSCORE', index, member_of(node.name, stand))) == 'string'
  if not is_in then s = math.max(race.v, s) end
  if number == 0 then number = race.arrival + 1 end
  local order = string.sub(member_of('', {served = stand.served, number = number}), 1, 17)
  return {name = node.name, order = order, s = s}, is_in
end

local function turns_before(mine, turns, own_charge, other, its_charge)
  local lead = math.min(mine.s + turns * own_charge, LAST_TAG) - other.s
  if lead < 0 then return 0 end
  local rest = lead % its_charge
  local its_turns = (lead - rest) / its_charge
  local is_more = other.order < mine.order
  if rest > 0 then
    is_more = true
  elseif its_turns > 0 and turns > 0 and its_charge ~= own_charge then
    is_more = its_charge > own_charge
  elseif its_turns ~= turns then
    is_more = its_turns < turns
  end
  return its_turns + (is_more and 1 or 0)
end

local function waiting_at(q, node, level)
  if node.children > 0 then return race_of(q, level, node.name).waiting end
  return size_of(ready_of(q, level, key_of(node.name)))
end

-- How often others are served before a node's turn; all that waits there, without a node.
local function served_before(q, race, mine, turns, cost, most)
  local own_charge = mine and charged(q, node_of(q, mine.name), cost)
  local last_tag = mine and math.min(mine.s + turns * own_charge, LAST_TAG)
  local places, total = places_of(race, last_tag, most)
  local served, precision = 0, EXACT
  read_places(q, places)
  for _, other in ipairs(places) do
    local node, more = node_of(q, other.name), LAST_TAG
    if mine then
      more = 0
      if other.name ~= mine.name then
        more = turns_before(mine, turns, own_charge, other, charged(q, node, cost))
      end
    end
    if more > 1 then
      if node.children > 0 then precision = AT_MOST end
      more = math.min(more, waiting_at(q, node, race.level))
    end
    served = served + more
  end
  if #places < total then return math.floor(served * total / #places + 0.5), ABOUT end
  return served, precision
end

local function other_levels(q, level)
  local better, worse = {}, 0
  for _, race in ipairs(q.order) do
    if not is_empty(race) then
      if race.level < level then better[#better + 1] = race end
      if race.level > level then worse = worse + 1 end
    end
  end
  return better, worse
end

local function ahead_of(q, key, level, position, cost, most)
  local node = node_of(q, key)
  if node.children > 0 then node = node_of(q, key .. '\31') end
  local better_races, worse = other_levels(q, level)
  most = math.max(1, math.floor(most / (#way_of(node.name) + #better_races)))
  local turns, better, least = position, 0, EXACT
  while node do
    local race = race_of(q, level, node.parent)
    local mine, is_in = place_of(race, node, level)
    local more, precision = served_before(q, race, mine, turns, cost, most)
    turns, least = turns + more, math.max(least, is_in and precision or ABOUT)
    node = node.parent ~= '' and node_of(q, node.parent)
  end
  for _, race in ipairs(better_races) do
    local more, precision = served_before(q, race, nil, 0, cost, most)
    better, least = better + more, math.max(least, precision)
  end
  return better, turns, worse, least
end
