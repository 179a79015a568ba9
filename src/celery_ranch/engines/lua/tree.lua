-- tree: a queue's counters, its keys' records, and the order between keys.
--
-- NEEDS  names
-- KEYS   none
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
-- GIVES  open(base)            the queue as it stands; write it back with save(q). If
--                              its counters cannot be read, is_broken is set, they
--                              are 0, and nothing of it is saved
--        is_sound(q, worker)   whether the counters can be read and all else is of the
--                              Redis type that verbs count on; they would stop halfway
--        refusal(q)            what a verb replies that would change a queue not sound
--        save(q)               write counters and records that changed
--        node_of(q, key)       a key's record, a new one if there is none: S and the
--                              epoch it was written in, last-served or arrival number
--                              (0: none), when last leased, served and paused (0 or
--                              1), share; set is_changed to have it written
--        write(command, key, items)  one command for many items, in steps
--        present(q, node)      its S in the present epoch
--        enter(q, key, node)   put it into the index, at max(v, S)
--        leave(q, key, node)   take it out
--        put(q, key, node)     put it at the place its record says
--        is_leasable(q)        whether anything is in an index
--        settle_epoch(q)       begin a new epoch if nothing waits and runs
--        wake(q)               leave a token if there is reason to

-- Packed, because reading and writing a dozen numbers as text costs more than
-- all else that a verb does. Doubles hold every integer below 2^53.
local TREE = '>ddddddddddd'
local NODE = '>ddddBBd'

local function open(base)
  local q = names_of(base)
  local was = redis.pcall('GET', q.tree) or string.rep('\0', 88)
  q.is_broken = type(was) ~= 'string' or #was ~= 88
  q.was = q.is_broken and string.rep('\0', 88) or was
  q.v, q.epoch, q.shifted, q.sequence, q.number, q.arrival,
    q.waiting, q.delayed, q.leased, q.turn, q.deaths = struct.unpack(TREE, q.was)
  q.loaded = {}
  return q
end

-- Counting is the quickest command that a key of another type refuses.
local function counts(command, key)
  return type(redis.pcall(command, key)) == 'number'
end

local function is_sound(q, worker)
  return not q.is_broken
    and counts('HLEN', q.entries) and counts('HLEN', q.nodes)
    and counts('ZCARD', index_of(q, q.epoch))
    and (q.shifted == 0 or counts('ZCARD', index_of(q, q.epoch - 1)))
    and counts('ZCARD', q.timers) and counts('ZCARD', q.workers)
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

local function save(q)
  if q.is_broken then return end
  local tree = struct.pack(TREE, q.v, q.epoch, q.shifted, q.sequence, q.number, q.arrival,
    q.waiting, q.delayed, q.leased, q.turn, q.deaths)
  if tree ~= q.was then redis.call('SET', q.tree, tree) end
  local records = {}
  for key, node in pairs(q.loaded) do
    if node.is_changed then
      records[#records + 1] = key
      records[#records + 1] = struct.pack(NODE, node.s, node.epoch, node.number, node.at,
        node.served, node.paused, node.share)
    end
  end
  write('HSET', q.nodes, records)
end

local function node_of(q, key)
  local node = q.loaded[key]
  if node then return node end
  local record = redis.call('HGET', q.nodes, key)
  if record and #record == 42 then
    node = {}
    node.s, node.epoch, node.number, node.at, node.served, node.paused, node.share =
      struct.unpack(NODE, record)
  else
    node = {s = 0, epoch = q.epoch, number = 0, at = 0, served = 0, paused = 0, share = 1}
    node.is_new = true
  end
  q.loaded[key] = node
  return node
end

-- Never served before served, then by arrival or last-served number.
local function member_of(key, node)
  return text(node.served) .. padded(node.number) .. key
end

local function present(q, node)
  if node.epoch == q.epoch then return node.s end
  if q.shifted == 1 and node.epoch == q.epoch - 1 then
    return math.max(0, node.s - tag_limit)
  end
  return 0
end

local function put(q, key, node)
  redis.call('ZADD', index_of(q, node.epoch), node.s, member_of(key, node))
end

local function enter(q, key, node)
  node.s = math.max(q.v, present(q, node))
  node.epoch = q.epoch
  if node.number == 0 then
    q.arrival = q.arrival + 1
    node.number = q.arrival
  end
  node.is_changed = true
  put(q, key, node)
end

local function leave(q, key, node)
  redis.call('ZREM', index_of(q, node.epoch), member_of(key, node))
end

local function is_leasable(q)
  return redis.call('EXISTS', index_of(q, q.epoch)) == 1
    or q.shifted == 1 and redis.call('EXISTS', index_of(q, q.epoch - 1)) == 1
end

local function settle_epoch(q)
  -- The index as well, because a key in that of an epoch that is over is lost.
  if q.waiting == 0 and q.leased == 0 and not is_leasable(q) then
    q.epoch = q.epoch + 1
    q.shifted = 0
    q.v = 0
  end
end

local function wake(q)
  if redis.call('EXISTS', q.wake) == 0 and (q.is_due_earlier or is_leasable(q)) then
    redis.call('LPUSH', q.wake, '1')
  end
end
