-- records: what a queue remembers, as it is kept: its counters, nodes and races.
--
-- NEEDS  forms
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
--        index_of(race, epoch) zset: served, number, child -> S
--        counts(command, key)  whether a key is of the type that a command counts
--        is_sound(q)           whether the counters can be read and all else is of the
--                              Redis type that verbs count on; they would stop halfway
--        save(q)               write counters and records that changed
--
-- A node has: why it is blocked (bits, see tree.lua), when something of it was leased
-- last (0: never), how many of its entries are in service, the version of the
-- policies that it was kept to, a share, how many children, and if it has any how
-- many entries below it are delayed; limits (see policies.lua), and what its entries
-- are thought to cost, if that is known; and a stand for each level where it had work.
local TREE = '>ddddddddd'
local LEVEL = '>BBdddddd'

local function open(base)
  local q = names_of(base)
  local was = redis.pcall('GET', q.tree)
  if was then q.is_broken = type(was) ~= 'string' or #was < 72 or (#was - 72) % 50 ~= 0 end
  if not was or q.is_broken then was = string.rep('\0', 72) end
  q.was = was
  q.sequence, q.number, q.delayed, q.turn, q.deaths, q.version, q.paths, q.estimate, q.stored =
    struct.unpack(TREE, was)
  for at = 73, #was, 50 do
    local level, shifted, v, epoch, arrival, waiting, in_service, credit =
      struct.unpack(LEVEL, was, at)
    local race = {
      level = level, parent = '', shifted = shifted, v = v, epoch = epoch, base = base,
      arrival = arrival, waiting = waiting, in_service = in_service, credit = credit,
      index = false, index_epoch = false,
    }
    q.order[#q.order + 1] = race
  end
  return q
end

-- Most nodes have nothing set, no children, and one level.
local function node_in(record)
  if #record == 42 and string.byte(record) < 8 then
    local blocks, at, in_service, version, level, s, epoch, number =
      struct.unpack(PLAIN, record)
    local served = level >= 16 and 1 or 0
    level = level - 16 * served
    if level <= 10 and at >= 0 and s >= 0 and epoch >= 0 and number >= 0
      and at + s + epoch + number < 2 ^ 54 then
      -- It is its own stand at its only level: one table is less to make than two.
      local node = {
        blocks = blocks, at = at, in_service = in_service, version = version, share = 1,
        children = 0, is_known = true, is_changed = false, name = '', parent = '',
        level = level, s = s, epoch = epoch, number = number, served = served,
      }
      node[1] = node
      return node
    end
  end
  return any_node_in(record)
end

local function read_node(q, name, record)
  local node = q.loaded[name]
  if node then return node end
  node = record and node_in(record) or {
    blocks = 0, at = 0, in_service = 0, version = 0, share = 1, children = 0,
    is_known = false, is_changed = false,
  }
  node.name, node.parent = name, parent_of(name)
  q.loaded[name] = node
  return node
end

local function node_of(q, name)
  return q.loaded[name] or read_node(q, name, redis.call('HGET', q.nodes, name))
end

local function stand_of(node, level)
  local first = node[1]
  if first and first.level == level then return first end
  return any_stand_of(node, level)
end

local function race_of(q, level, parent)
  if parent ~= '' then return inner_race_of(q, level, parent) end
  local order = q.order
  for at = 1, #order do
    if order[at].level == level then return order[at] end
  end
  return new_level(q, level)
end

local function index_of(race, epoch)
  if race.index_epoch ~= epoch then
    local below = race.parent == '' and '' or ':' .. race.parent
    race.index_epoch = epoch
    race.index = string.format('%sindex:%.0f:%.0f%s', race.base, race.level, epoch, below)
  end
  return race.index
end

-- Counting is the quickest command that a key of another type refuses.
local function counts(command, key)
  return type(redis.pcall(command, key)) == 'number'
end

local function is_sound(q)
  for _, race in ipairs(q.order) do
    if race.shifted == 1 and not counts('ZCARD', index_of(race, race.epoch - 1))
      or not counts('ZCARD', index_of(race, race.epoch)) then
      return false
    end
  end
  return not q.is_broken
    and counts('HLEN', q.entries) and counts('HLEN', q.nodes)
    and counts('ZCARD', q.timers) and counts('ZCARD', q.workers)
    and (q.version == 0 or are_policies_sound(q))
end

local function save(q)
  if q.is_broken then return end
  local tree = struct.pack(TREE, q.sequence, q.number, q.delayed, q.turn, q.deaths,
    q.version, q.paths, q.estimate, q.stored)
  for _, race in ipairs(q.order) do
    tree = tree .. struct.pack(LEVEL, race.level, race.shifted, race.v, race.epoch,
      race.arrival, race.waiting, race.in_service, race.credit)
  end
  if tree ~= q.was then redis.call('SET', q.tree, tree) end
  if q.inner then save_races(q) end
  local records = {}
  for name, node in pairs(q.loaded) do
    if node.is_changed then
      local stand = node[1]
      records[#records + 1] = name
      if node.share == 1 and node.children == 0 and not node.estimate and stand
        and not node[2] and not node.limits then
        records[#records + 1] = struct.pack(PLAIN, node.blocks, node.at, node.in_service,
          node.version, stand.level + 16 * stand.served, stand.s, stand.epoch, stand.number)
      else
        records[#records + 1] = packed(node)
      end
    end
  end
  write('HSET', q.nodes, records)
end
