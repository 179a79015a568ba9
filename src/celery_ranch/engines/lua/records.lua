-- records: what a queue remembers, as it is kept: its counters, nodes and races.
--
-- NEEDS  names
-- KEYS   none
-- ARGV   none
-- GIVES  open(base)            the queue as it stands; write it back with save(q). If
--                              its counters cannot be read, is_broken is set, they
--                              are 0, and nothing of it is saved
--        node_of(q, name)      what is remembered of a node, the same table each time;
--                              is_known if anything is. Set is_changed to have it written
--        read_node(q, name, record)  the same, from a record that was read already
--        stand_of(node, level) where it stands in its parent's race: s and the epoch it
--                              was written in, served (0 or 1), and the number of its
--                              last service, or of its arrival (0: none)
--        race_of(q, level, parent)  the race of a node's children; set is_changed
--        is_sound(q, worker)   whether the counters can be read and all else is of the
--                              Redis type that verbs count on; they would stop halfway
--        refusal(q)            what a verb replies that would change a queue not sound
--        write(command, key, items)  one command for many items, in steps
--        save(q)               write counters and records that changed
--
-- A node has: why it is blocked (bits, see tree.lua), when something of it was leased
-- last (0: never), how many of its entries are in service, the version of the
-- policies that it was kept to, a share, how many children, and if it has any how
-- many entries below it are delayed; limits (see policies.lua); what its entries are
-- thought to cost (0: unknown); and a stand for each level where it had work.

-- Packed, because reading and writing a dozen numbers as text costs more than
-- all else that a verb does. Doubles hold every integer below 2^53.
local TREE = '>dddddddd'
local LEVEL = '>BBdddddd'
local RACE = '>Bddddd'
local NODE = '>BdI4I4'
local SHARE = '>d'
local FAMILY = '>I4I4'
local LIMITS = '>ddddddd'
-- A stand's level and whether it was served share a byte.
local STAND = '>Bddd'
local PLAIN = '>BdI4I4Bddd'
local NO_TREE = string.rep('\0', 64)


local function new_race(q, level, parent)
  local race = {
    level = level, parent = parent, shifted = 0, v = 0, epoch = 0, arrival = 0,
    waiting = 0, in_service = 0, credit = 0,
  }
  race.prefix = q.base .. 'index:' .. text(level) .. ':'
  race.suffix = parent == '' and '' or ':' .. parent
  return race
end

local function open(base)
  local q = names_of(base)
  q.loaded, q.levels, q.order, q.inner, q.ended = {}, {}, {}, {}, {}
  local was = redis.pcall('GET', q.tree) or NO_TREE
  q.is_broken = type(was) ~= 'string' or #was < 64 or (#was - 64) % 50 ~= 0
  q.was = q.is_broken and NO_TREE or was
  q.sequence, q.number, q.delayed, q.turn, q.deaths, q.version, q.paths, q.estimate =
    struct.unpack(TREE, q.was)
  for at = 65, #q.was, 50 do
    local level, shifted, v, epoch, arrival, waiting, in_service, credit =
      struct.unpack(LEVEL, q.was, at)
    local race = {
      level = level, parent = '', shifted = shifted, v = v, epoch = epoch,
      arrival = arrival, waiting = waiting, in_service = in_service, credit = credit,
    }
    race.prefix, race.suffix = q.base .. 'index:' .. text(level) .. ':', ''
    q.levels[level] = race
    q.order[#q.order + 1] = race
  end
  return q
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

local function node_in(record)
  local node = {share = 1, children = 0, delayed = 0, estimate = 0}
  local flags = string.byte(record) or 255
  local size = bytes_of(flags)
  if flags >= 128 or #record < size or (#record - size) % 25 ~= 0 then return nil end
  flags, node.at, node.in_service, node.version = struct.unpack(NODE, record)
  node.blocks = flags % 8
  local at = flags < 8 and 18 or add_rest(node, record, flags)
  if not (is_number(node.at) and node.share > 0 and add_stands(node, record, at)) then
    return nil
  end
  node.is_known = true
  return node
end

local function read_node(q, name, record)
  local node = q.loaded[name]
  if node then return node end
  node = record and node_in(record) or {
    blocks = 0, at = 0, in_service = 0, version = 0, share = 1, children = 0, delayed = 0,
    estimate = 0,
  }
  node.name, node.parent = name, parent_of(name)
  q.loaded[name] = node
  return node
end

local function node_of(q, name)
  return q.loaded[name] or read_node(q, name, redis.call('HGET', q.nodes, name))
end

local function stand_of(node, level)
  for _, stand in ipairs(node) do
    if stand.level == level then return stand end
  end
  local stand = {level = level, s = 0, epoch = 0, number = 0, served = 0}
  node[#node + 1] = stand
  node.is_changed = true
  return stand
end

local function race_in(q, level, parent)
  local field = string.format('%02.0f', level) .. parent
  local race = q.inner[field]
  if race then return race end
  race = new_race(q, level, parent)
  local record = redis.pcall('HGET', q.races, field)
  if type(record) == 'string' and #record == 41 then
    race.shifted, race.v, race.epoch, race.arrival, race.waiting, race.in_service =
      struct.unpack(RACE, record)
  end
  q.inner[field] = race
  return race
end

local function race_of(q, level, parent)
  if parent ~= '' then return race_in(q, level, parent) end
  local race = q.levels[level]
  if not race then
    race = new_race(q, level, '')
    q.levels[level] = race
    q.order[#q.order + 1] = race
    table.sort(q.order, function(a, b) return a.level < b.level end)
  end
  return race
end

-- Counting is the quickest command that a key of another type refuses.
local function counts(command, key)
  return type(redis.pcall(command, key)) == 'number'
end

local function are_indexes(q)
  for _, race in ipairs(q.order) do
    if not counts('ZCARD', race.prefix .. text(race.epoch))
      or race.shifted == 1 and not counts('ZCARD', race.prefix .. text(race.epoch - 1)) then
      return false
    end
  end
  return true
end

local function is_sound(q, worker)
  return not q.is_broken
    and counts('HLEN', q.entries) and counts('HLEN', q.nodes) and are_indexes(q)
    and counts('ZCARD', q.timers) and counts('ZCARD', q.workers)
    and (q.version == 0 or counts('HLEN', q.policies) and counts('HLEN', q.tags))
    and (not worker or counts('HLEN', held_of(q, worker)))
end

local function refusal(q)
  return redis.error_reply('ERR the queue ' .. string.match(q.base, '{(.*)}:$')
    .. ' is damaged: something else was written to its keys')
end

local function write(command, key, items)
  for first = 1, #items, 1000 do
    redis.call(command, key, unpack(items, first, math.min(first + 999, #items)))
  end
end

local function packed(node)
  local limits, stand = node.limits, node[1]
  local flags = node.blocks + (node.share ~= 1 and 8 or 0) + (node.children > 0 and 16 or 0)
    + (limits and 32 or 0) + (node.estimate > 0 and 64 or 0)
  if flags < 8 and stand and not node[2] then
    return struct.pack(PLAIN, flags, node.at, node.in_service, node.version,
      stand.level + 16 * stand.served, stand.s, stand.epoch, stand.number)
  end
  local parts = {struct.pack(NODE, flags, node.at, node.in_service, node.version)}
  if node.share ~= 1 then parts[2] = struct.pack(SHARE, node.share) end
  if node.children > 0 then
    parts[#parts + 1] = struct.pack(FAMILY, node.children, node.delayed)
  end
  if limits then
    parts[#parts + 1] = struct.pack(LIMITS, limits.concurrency, limits.interval,
      limits.burst, limits.backlog, limits.arrival, limits.due, limits.timer)
  end
  if node.estimate > 0 then parts[#parts + 1] = struct.pack(SHARE, node.estimate) end
  for _, each in ipairs(node) do
    parts[#parts + 1] = struct.pack(STAND, each.level + 16 * each.served, each.s,
      each.epoch, each.number)
  end
  return table.concat(parts)
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
  if #records > 0 and is_mistyped(redis.pcall('HLEN', q.races)) then
    redis.call('DEL', q.races)
  end
  write('HSET', q.races, records)
end

local function save(q)
  if q.is_broken then return end
  local tree = struct.pack(TREE, q.sequence, q.number, q.delayed, q.turn, q.deaths,
    q.version, q.paths, q.estimate)
  for _, race in ipairs(q.order) do
    tree = tree .. struct.pack(LEVEL, race.level, race.shifted, race.v, race.epoch,
      race.arrival, race.waiting, race.in_service, race.credit)
  end
  if tree ~= q.was then redis.call('SET', q.tree, tree) end
  if next(q.inner) then save_races(q) end
  local records = {}
  for name, node in pairs(q.loaded) do
    if node.is_changed then
      records[#records + 1] = name
      records[#records + 1] = packed(node)
    end
  end
  write('HSET', q.nodes, records)
end
