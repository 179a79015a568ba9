-- names: the name of every Redis key of a queue, and the store's clock.
--
-- KEYS   none
-- ARGV   none
-- GIVES  text(n)              an integer as text, with every digit
--        padded(n)            the same in 16 digits, so that texts sort as numbers
--        time_of(now)         microseconds: now, or if negative the server's clock
--        base_of(queues, name)  what the names of a queue's keys begin with
--        queue_of(queues, base) the name again
--        names_of(base)       a table of the names of that queue's fixed keys
--        index_of(q, epoch)   zset  rank + key -> S
--        ready_of(q, key)     zset  entry id -> sequence
--        delayed_of(q, key)   zset  sequence, flag, entry id -> due time
--        publisher_of(q, id)  str   number of the last of its publishes that was stored
--        held_of(q, worker)   hash  lease number -> state, sequence, entry id, key
--        is_mistyped(reply)   whether a pcall was refused because a key is of another type
--        make_room(q)         lets a script that drains write when memory is full
--
-- tree     str   the queue's counters, packed (see tree.lua)
-- nodes    hash  key -> its record, packed (see tree.lua)
-- entries  hash  entry id -> deliveries, expiry, place, key and message
-- timers   zset  sequence + key -> due time of the key's earliest delayed entry
-- workers  zset  worker -> until when its leases are valid
-- dead     zset  entry id -> the how-manieth to die; reasons: hash, when and why
-- wake     list  at most one token
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

-- A name is made when it is first asked for: most verbs need few of them.
local NAMES = {__index = function(q, name)
  local suffix = rawget(q, 'fixed')[name]
  if suffix then
    q[name] = q.base .. suffix
    return q[name]
  end
end}

local function names_of(base)
  local fixed = {
    tree = 'tree', nodes = 'nodes', entries = 'entries', timers = 'timers',
    workers = 'workers', dead = 'dead', reasons = 'reasons', wake = 'wake',
  }
  return setmetatable({base = base, fixed = fixed}, NAMES)
end

local function index_of(q, epoch)
  if q.index_epoch ~= epoch then
    q.index, q.index_epoch = q.base .. 'index:' .. text(epoch), epoch
  end
  return q.index
end

local function ready_of(q, key)
  return q.base .. 'ready:' .. key
end

local function delayed_of(q, key)
  return q.base .. 'delayed:' .. key
end

local function publisher_of(q, id)
  return q.base .. 'publisher:' .. id
end

local function held_of(q, worker)
  return q.base .. 'held:' .. worker
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
