-- forms: how nodes and races are kept that are not as most are.
--
-- NEEDS  names
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  any_node_in(record)    a node of any form; nil if it cannot be read
--        packed(node)           the reverse
--        PLAIN                  the form of most: nothing set, no children, one level
--        any_stand_of(node, level)  where it stands at a level, if need be a new stand
--        new_level(q, level)    the race of the root at a level that nobody used yet
--        inner_race_of(q, level, parent)  the race of another node's children
--        save_races(q)          write those that changed
--        are_policies_sound(q)  whether what is set is of the Redis type that verbs count on
--        refusal(q)             what a verb replies that would change a queue not sound
--
-- A record's first byte says which parts it has: bits 0 to 2, and 7, are why it is blocked,
-- the others say of a share, a family, limits, an estimate. A stand's level and whether it
-- was served share a byte.

-- Packed, because reading and writing a dozen numbers as text costs more than
-- all else that a verb does. Doubles hold every integer below 2^53.
local RACE = '>Bddddd'
local NODE = '>BdI4I4'
local SHARE = '>d'
local FAMILY = '>I4I4'
local LIMITS = '>ddddddd'
local STAND = '>Bddd'
local PLAIN = '>BdI4I4Bddd'

local function new_race(q, level, parent)
  local race = {
    level = level, parent = parent, shifted = 0, v = 0, epoch = 0, arrival = 0,
    waiting = 0, in_service = 0, credit = 0,
  }
  race.base, race.index, race.index_epoch = q.base, false, false
  return race
end

local function new_level(q, level)
  local race = new_race(q, level, '')
  q.order[#q.order + 1] = race
  table.sort(q.order, function(a, b) return a.level < b.level end)
  return race
end

local function inner_race_of(q, level, parent)
  local field = string.format('%02.0f', level) .. parent
  q.inner = q.inner or {}
  local race = q.inner[field]
  if race then return race end
  race = new_race(q, level, parent)
  local record = redis.pcall('HGET', rare(q, 'races'), field)
  if type(record) == 'string' and #record == 41 then
    race.shifted, race.v, race.epoch, race.arrival, race.waiting, race.in_service =
      struct.unpack(RACE, record)
  end
  q.inner[field] = race
  return race
end

local function save_races(q)
  local records = {}
  for field, race in pairs(q.inner) do
    if race.is_changed then
      records[#records + 1] = field
      records[#records + 1] = struct.pack(RACE, race.shifted, race.v, race.epoch,
        race.arrival, race.waiting, race.in_service)
    end
  end
  if #records > 0 and is_mistyped(redis.pcall('HLEN', rare(q, 'races'))) then
    redis.call('DEL', rare(q, 'races'))
  end
  write('HSET', rare(q, 'races'), records)
end

local function is_number(n)
  return n >= 0 and n < 2 ^ 53
end

-- Into a node from the stands at the end of its record; false if they are damaged.
local function add_stands(node, record, at)
  for place = at, #record, 25 do
    local level, s, epoch, number = struct.unpack(STAND, record, place)
    local served = level >= 16 and 1 or 0
    level = level - 16 * served
    if level > 10 or not (is_number(s) and is_number(epoch) and is_number(number)) then
      return false
    end
    node[#node + 1] = {level = level, s = s, epoch = epoch, number = number, served = served}
  end
  return true
end

local function add_rest(node, record, flags)
  local at = 18
  if flags % 16 >= 8 then node.share, at = struct.unpack(SHARE, record, at) end
  if flags % 32 >= 16 then node.children, node.delayed, at = struct.unpack(FAMILY, record, at) end
  if flags % 64 >= 32 then
    local limits = {}
    limits.concurrency, limits.interval, limits.burst, limits.backlog,
      limits.arrival, limits.due, limits.timer, at = struct.unpack(LIMITS, record, at)
    node.limits = limits
  end
  if flags % 128 >= 64 then node.estimate, at = struct.unpack(SHARE, record, at) end
  return at
end

local function bytes_of(flags)
  return 17 + (flags % 16 >= 8 and 8 or 0) + (flags % 32 >= 16 and 8 or 0)
    + (flags % 64 >= 32 and 56 or 0) + (flags % 128 >= 64 and 8 or 0)
end

local function any_node_in(record)
  local node = {share = 1, children = 0}
  local flags = string.byte(record) or 255
  local size = bytes_of(flags)
  if #record < size or (#record - size) % 25 ~= 0 then return nil end
  flags, node.at, node.in_service, node.version = struct.unpack(NODE, record)
  node.blocks = flags % 8 + (flags >= 128 and 128 or 0)
  local at = flags % 128 < 8 and 18 or add_rest(node, record, flags)
  if not (is_number(node.at) and node.share > 0 and add_stands(node, record, at)) then
    return nil
  end
  node.is_known = true
  return node
end

local function packed(node)
  local limits = node.limits
  local flags = node.blocks + (node.share ~= 1 and 8 or 0) + (node.children > 0 and 16 or 0)
    + (limits and 32 or 0) + (node.estimate and 64 or 0)
  local parts = {struct.pack(NODE, flags, node.at, node.in_service, node.version)}
  if node.share ~= 1 then parts[2] = struct.pack(SHARE, node.share) end
  if node.children > 0 then
    parts[#parts + 1] = struct.pack(FAMILY, node.children, node.delayed)
  end
  if limits then
    parts[#parts + 1] = struct.pack(LIMITS, limits.concurrency, limits.interval,
      limits.burst, limits.backlog, limits.arrival, limits.due, limits.timer)
  end
  if node.estimate then parts[#parts + 1] = struct.pack(SHARE, node.estimate) end
  for _, each in ipairs(node) do
    parts[#parts + 1] = struct.pack(STAND, each.level + 16 * each.served, each.s,
      each.epoch, each.number)
  end
  return table.concat(parts)
end

local function any_stand_of(node, level)
  for _, stand in ipairs(node) do
    if stand.level == level then return stand end
  end
  local stand = {level = level, s = 0, epoch = 0, number = 0, served = 0}
  node[#node + 1] = stand
  node.is_changed = true
  return stand
end

local function are_policies_sound(q)
  return type(redis.pcall('HLEN', rare(q, 'policies'))) == 'number'
    and type(redis.pcall('HLEN', rare(q, 'tags'))) == 'number'
end

local function refusal(q)
  return redis.error_reply('ERR the queue ' .. string.match(q.base, '{(.*)}:$')
    .. ' is damaged: something else was written to its keys')
end
