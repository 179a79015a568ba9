-- names: the name of every Redis key of a queue, and the store's clock.
--
-- LATER  queue_of, is_mistyped
-- KEYS   none
-- ARGV   none
-- GIVES  text(n)              an integer as text, with every digit
--        padded(n)            the same in 16 digits, so that texts sort as numbers
--        time_of(now)         microseconds: now, or if negative the server's clock
--        base_of(queues, name)  what the names of a queue's keys begin with
--        queue_of(queues, base) the name again
--        names_of(base)       a table of the names of that queue's fixed keys
--        rare(q, name)        the name of one that verbs seldom need
--        ready_of(q, level, key)  zset  entry id -> sequence
--        delayed_of(q, key)   zset  sequence, flag, level, entry id -> due time
--        tagged_member(tag, name)   of a node with a tag, in the set of all of these
--        publisher_of(base, id)  str  number of the last of its publishes that was stored
--        service_of(q, seconds, start)  hash  what workers counted (see report.lua)
--        worker_of(queues, worker)  str   what a worker says of itself
--        held_of(q, worker)   hash  lease number -> what is leased (see leases.lua)
--        parent_of(name)      the node above; empty: the root
--        key_of(leaf)         the key whose entries a leaf of the tree stands for
--        way_of(key)          its nodes' names, outermost first
--        is_mistyped(reply)   whether a pcall was refused because a key is of another type
--        write(command, key, items)  one command for many items, in steps
--        make_room(q)         lets a script that drains write when memory is full
--
-- tree     str   the queue's counters and the races of its root (see records.lua)
-- nodes    hash  node -> its record (see records.lua)
-- races    hash  level in 2 digits, node -> its children's race there
-- index:…  zset  served, number, child -> S, of each race (see tree.lua)
-- entries  hash  entry id -> what is known of it (see places.lua)
-- timers   zset  sequence + key -> due time of the key's earliest delayed entry;
--                sequence + "\31" + node -> when its rate lets another start
-- policies hash  what is set (see policies.lua); tags: hash, node -> its tags
-- tagged   zset  tag + "\31" + node -> 0; data: hash, node -> its data (see data.lua)
-- workers  zset  worker -> until when its leases are valid
-- dead     zset  entry id -> the how-manieth to die; reasons: hash, when and why
-- wake     list  at most one token
--
-- A node is named by the parts of its path, joined by "\31", which no part has:
-- whoever writes keys has replaced it. The entries of a node with children are
-- those of one more child, whose own part is empty.
local function text(n)
  return string.format('%.0f', n)
end

local function padded(n)
  return string.format('%016.0f', n)
end

local function time_of(now)
  if now >= 0 then return now end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function base_of(queues, name)
  return string.sub(queues, 1, -7) .. '{' .. name .. '}:'
end

local function queue_of(queues, base)
  return string.sub(base, #queues - 4, -3)
end

-- Has room for all that verbs keep there: a table that grows costs more than this.
local function names_of(base)
  return {
    base = base, tree = base .. 'tree', nodes = base .. 'nodes', entries = base .. 'entries',
    timers = base .. 'timers', workers = base .. 'workers', wake = base .. 'wake',
    ready_level = false, loaded = {}, order = {}, was = '', is_broken = false,
    sequence = 0, number = 0, delayed = 0, turn = 0, deaths = 0, version = 0, paths = 0,
    estimate = 0, stored = 0,
  }
end

local function rare(q, name)
  return q.base .. name
end

local function ready_of(q, level, key)
  if q.ready_level ~= level then
    q.ready_level, q.ready_start = level, string.format('%sready:%.0f:', q.base, level)
  end
  return q.ready_start .. key
end

local function delayed_of(q, key)
  return q.base .. 'delayed:' .. key
end

local function tagged_member(tag, name)
  return tag .. '\31' .. name
end

local function publisher_of(base, id)
  return base .. 'publisher:' .. id
end

local function service_of(q, seconds, start)
  return q.base .. 'service:' .. text(seconds) .. ':' .. text(start)
end

local function worker_of(queues, worker)
  return string.sub(queues, 1, -7) .. 'worker:' .. worker
end

local function held_of(q, worker)
  return q.base .. 'held:' .. worker
end

local function parent_of(name)
  if not string.find(name, '\31', 1, true) then return '' end
  return string.match(name, '^(.*)\31')
end

local function key_of(leaf)
  if string.byte(leaf, -1) == 31 then return string.sub(leaf, 1, -2) end
  return leaf
end

local function way_of(key)
  local way = {}
  for at in string.gmatch(key, '()\31') do way[#way + 1] = string.sub(key, 1, at - 1) end
  way[#way + 1] = key
  return way
end

local function write(command, key, items)
  for first = 1, #items, 1000 do
    redis.call(command, key, unpack(items, first, math.min(first + 999, #items)))
  end
end

local function is_mistyped(reply)
  return type(reply) == 'table' and reply.err ~= nil
    and string.find(reply.err, 'WRONGTYPE', 1, true) ~= nil
end

-- Redis asks whether memory is full at a script's first write only, and only
-- if that write may grow: so drainers begin with one that cannot.
local function make_room(base)
  redis.call('DEL', base .. 'nothing')
end
