-- epochs: tags that were written in another epoch than the present one.
--
-- NEEDS  records
-- LATER
-- KEYS   none
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
-- GIVES  present(race, stand)    its S in the present epoch
--        all_races(q)            those of the root, then all others that were come to
--        shift(q)                bring tags down in races that have is_served, before
--                                they leave the exact range
--        first_of_two(race)      takes out whose turn it is, where the race was shifted
local function present(race, stand)
  if stand.epoch == race.epoch then return stand.s end
  if race.shifted == 1 and stand.epoch == race.epoch - 1 then
    return math.max(0, stand.s - tag_limit)
  end
  return 0
end

-- Those of the root, then all others that were come to.
local function all_races(q)
  local all = {unpack(q.order)}
  for _, race in pairs(q.inner or {}) do all[#all + 1] = race end
  return all
end

local function shift(q)
  for _, race in ipairs(all_races(q)) do
    local is_over = race.is_served and race.v >= tag_limit
    -- An index that was shifted before has run empty, unless tags were corrected far.
    if is_over and (race.shifted == 0
      or redis.call('EXISTS', index_of(race, race.epoch - 1)) == 0) then
      race.epoch, race.shifted, race.v = race.epoch + 1, 1, race.v - tag_limit
    end
  end
end

-- A shifted epoch's nodes are in two indexes until the old one has run empty.
local function first_of_two(race)
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
