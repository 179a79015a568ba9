-- levels: whose level it is, where none may starve.
--
-- NEEDS  tree
-- LATER
-- KEYS   none
-- ARGV   level_floor num  what a level that waits is sure of, in millionths
-- GIVES  see_levels(q)          find out which have nothing eligible: is_dry
--        owed_race(q, first)    the root's race at the level that is next
--        count_dispatch(q, level)  what levels gain and lose by a dispatch
--
-- The rule is that of scheduling/levels.py.
local function see_levels(q)
  for _, race in ipairs(q.order) do race.is_dry = is_empty(race) end
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
  local race = race_of(q, level, '')
  race.credit = math.max(0, race.credit - 1000000)
end
