-- tree: whose turn it is among the children of each node.
--
-- NEEDS  records, sets, epochs
-- KEYS   none
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
-- GIVES  member_of(name, stand)  who stands there
--        put(race, node, stand)  into the index, at the place that the stand says
--        first_of(race)          whose turn it is, taken out; nil where nobody races
--        is_empty(race)          whether nobody can be chosen
--        is_leasable(q)          whether anything is in an index of the root
--        count_waiting(q, leaf, level, more)  of all races above a leaf, by its name
--        begin_epochs(q)         in races that have is_ended, where nothing waits and runs
--
-- The rule is that of scheduling/fairness.py and race.py; a test compares the two.
-- Never served before served, then by arrival or last-served number.
local function member_of(name, stand)
  return (stand.served == 1 and '1' or '0') .. padded(stand.number) .. name
end

local function put(race, node, stand)
  race.is_dry = false
  local index, member = index_of(race, stand.epoch), member_of(node.name, stand)
  if race.parent == '' then
    redis.call('ZADD', index, stand.s, member)
  else
    add('ZADD', index, stand.s, member)
  end
end

local function first_of(race)
  if race.shifted == 1 then return first_of_two(race) end
  return redis.pcall('ZPOPMIN', index_of(race, race.epoch))[1]
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

local function count_waiting(q, leaf, level, more)
  local parent = leaf
  repeat
    parent = parent_of(parent)
    local race = race_of(q, level, parent)
    race.waiting, race.is_changed = race.waiting + more, true
  until parent == ''
end

local function begin_epochs(q)
  local races = q.inner and all_races(q) or q.order
  for _, race in ipairs(races) do
    -- The index as well, because a key in that of an epoch that is over is lost.
    if race.is_ended and race.waiting <= 0 and race.in_service <= 0 and is_empty(race) then
      race.epoch, race.shifted, race.v, race.is_changed = race.epoch + 1, 0, 0, true
    end
  end
end
