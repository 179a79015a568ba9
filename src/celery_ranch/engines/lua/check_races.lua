-- check_races: look whether those who stand for their turn should.
--
-- NEEDS  checking
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many races to look at, and children in them
-- GIVES  checked cursor wrong...  of each thing found wrong three: kind, name, detail;
--                         the kind `long` names the parent of a race whose children
--                         were too many to be looked at, and as detail its level
local q = open(base)
local budget = limit

local function check_race(race)
  local over = index_of(race, race.epoch - 1 - race.shifted)
  if redis.call('EXISTS', over) == 1 then found('stray index', over) end
  local epochs = race.shifted == 1 and {race.epoch, race.epoch - 1} or {race.epoch}
  local size = 0
  for _, epoch in ipairs(epochs) do
    size = size + redis.call('ZCARD', index_of(race, epoch))
  end
  if size > budget then return found('long', race.parent, text(race.level)) end
  budget = budget - size
  for _, epoch in ipairs(epochs) do
    for _, member in ipairs(redis.call('ZRANGE', index_of(race, epoch), 0, -1)) do
      check_child(q, race, epoch, member)
    end
  end
end

local scan = redis.call('HSCAN', rare(q, 'races'), cursor, 'COUNT', limit)
reply[2] = scan[1]
if cursor == '0' then
  for _, race in ipairs(q.order) do check_race(race) end
end
for i = 1, #scan[2], 2 do
  local field = scan[2][i]
  local level = tonumber(string.sub(field, 1, 2))
  if level then check_race(race_of(q, level, string.sub(field, 3))) end
end
return reply
