-- measure: show nodes as they stand.
--
-- NEEDS  growth, places
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        budget     num   how many bytes of entries to read at most
--        name...    str   of the nodes, a hundred at most
-- GIVES  measured node...   of each that is known ten: name, share, why it is
--                         blocked, when it was leased last (0: never), how many are in
--                         service, how many delayed, how many children it has, since
--                         when the first of its own entries could have run (-1: not
--                         known); its stands, of each five: level, waiting, lead, 1 if
--                         it races, how many of its children do; its limits, none or
--                         five: concurrency, interval, burst, backlog, arrival
local q = open(base)
local reply = {'measured'}

local function racing(race)
  local size = redis.call('ZCARD', index_of(race, race.epoch))
  if race.shifted == 0 then return size end
  return size + redis.call('ZCARD', index_of(race, race.epoch - 1))
end

-- Of what is large, one too many would hold the server up.
local function since_of(key, level)
  local id = redis.call('ZRANGE', ready_of(q, level, key), 0, 0)[1]
  local size = id and redis.call('HSTRLEN', q.entries, id) or 0
  if size == 0 or size > budget then return nil end
  budget = budget - size
  local _, _, _, _, _, _, _, since = header_of(redis.call('HGET', q.entries, id))
  return tonumber(since or '')
end

-- Work at a level leaves a stand there, but at nodes above one that is blocked.
local function levels_of(node)
  local levels, has = {}, {}
  for _, stand in ipairs(node) do
    levels[#levels + 1] = {level = stand.level, stand = stand.number > 0 and stand}
    has[stand.level] = true
  end
  for _, race in ipairs(node.children > 0 and q.order or {}) do
    if not has[race.level] then levels[#levels + 1] = {level = race.level} end
  end
  return levels
end

local function stands_of(node)
  local found, first = {}, -1
  for _, each in ipairs(levels_of(node)) do
    local level, stand, below = each.level, each.stand, 0
    local waiting = redis.call('ZCARD', ready_of(q, level, node.name))
    local since = waiting > 0 and since_of(node.name, level)
    if since and (first < 0 or since < first) then first = since end
    local has_work = waiting > 0
    if node.children > 0 then
      local race = race_of(q, level, node.name)
      waiting, below = race.waiting, racing(race)
      has_work = below > 0
    end
    if stand or waiting > 0 then
      local at = #found
      found[at + 1], found[at + 2], found[at + 3] = level, waiting, 0
      found[at + 4], found[at + 5] = has_work and node.blocks == 0 and 1 or 0, below
      if stand then
        local race = race_of(q, level, node.parent)
        found[at + 3] = present(race, stand) - race.v
      end
    end
  end
  return found, first
end

local function limits_in(node)
  local limits = node.limits
  if not limits then return {} end
  return {limits.concurrency, limits.interval, limits.burst, limits.backlog, limits.arrival}
end

local records = #ARGV < first_name and {} or redis.call('HMGET', q.nodes, unpack(ARGV, first_name))
for at, record in ipairs(records) do
  local node = read_node(q, ARGV[first_name + at - 1], record)
  if node.is_known then
    local delayed = node.delayed
    if node.children == 0 then
      delayed = q.delayed > 0 and redis.call('ZCARD', delayed_of(q, node.name)) or 0
    end
    local stands, since = stands_of(node)
    local i = #reply
    reply[i + 1], reply[i + 2] = node.name, string.format('%.17g', node.share)
    reply[i + 3], reply[i + 4], reply[i + 5] = node.blocks, node.at, node.in_service
    reply[i + 6], reply[i + 7], reply[i + 8] = delayed, node.children, since
    reply[i + 9], reply[i + 10] = stands, limits_in(node)
  end
end
return reply
