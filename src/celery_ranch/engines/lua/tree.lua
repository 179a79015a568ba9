-- tree: a queue's counters, its keys' records, and the order between keys.
--
-- NEEDS  names
-- KEYS   none
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
-- GIVES  open(base)            the queue as it stands; write it back with save(q)
--        save(q)               write counters and records that changed
--        node_of(q, key)       a key's record, a new one if there is none
--        present(q, node)      its S in the present epoch
--        enter(q, key, node)   put it into the index, at max(v, S)
--        leave(q, key, node)   take it out
--        put(q, key, node)     put it at the place its record says
--        is_leasable(q)        whether anything is in an index
--        settle_epoch(q)       begin a new epoch if nothing waits and runs
--        wake(q)               leave a token if there is reason to
local COUNTERS = {
  'v', 'epoch', 'shifted', 'sequence', 'number', 'arrival',
  'waiting', 'delayed', 'leased', 'turn', 'deaths',
}

local function open(base)
  local q = names_of(base)
  q.was, q.loaded = {}, {}
  local values = redis.call('HMGET', q.tree, unpack(COUNTERS))
  for i, counter in ipairs(COUNTERS) do
    local value = tonumber(values[i]) or 0
    q.was[counter] = value
    q[counter] = value
  end
  return q
end

local function write(command, key, items)
  for first = 1, #items, 1000 do
    redis.call(command, key, unpack(items, first, math.min(first + 999, #items)))
  end
end

local function record_of(node)
  local record = text(node.s) .. ' ' .. text(node.epoch) .. ' ' .. node.rank .. ' ' .. text(node.at)
  if node.paused == '0' and node.share == '1' then return record end
  return record .. ' ' .. node.paused .. ' ' .. node.share
end

local function save(q)
  local counters = {}
  for _, counter in ipairs(COUNTERS) do
    if q[counter] ~= q.was[counter] then
      counters[#counters + 1] = counter
      counters[#counters + 1] = text(q[counter])
    end
  end
  write('HSET', q.tree, counters)
  local records = {}
  for key, node in pairs(q.loaded) do
    if node.is_changed then
      records[#records + 1] = key
      records[#records + 1] = record_of(node)
    end
  end
  write('HSET', q.nodes, records)
end

local function node_of(q, key)
  local node = q.loaded[key]
  if node then return node end
  local record = redis.call('HGET', q.nodes, key)
  if record then
    local s, epoch, rank, at, paused, share =
      string.match(record, '^(%d+) (%d+) (%S+) (%d+) ?(%d?) ?(%S*)$')
    node = {
      s = tonumber(s), epoch = tonumber(epoch), rank = rank, at = tonumber(at),
      paused = paused == '' and '0' or paused, share = share == '' and '1' or share,
    }
  else
    node = {s = 0, epoch = q.epoch, rank = '-', at = 0, paused = '0', share = '1', is_new = true}
  end
  q.loaded[key] = node
  return node
end

local function present(q, node)
  if node.epoch == q.epoch then return node.s end
  if q.shifted == 1 and node.epoch == q.epoch - 1 then
    return math.max(0, node.s - tag_limit)
  end
  return 0
end

local function put(q, key, node)
  redis.call('ZADD', index_of(q, node.epoch), node.s, node.rank .. key)
end

local function enter(q, key, node)
  node.s = math.max(q.v, present(q, node))
  node.epoch = q.epoch
  if node.rank == '-' then
    q.arrival = q.arrival + 1
    node.rank = '0' .. padded(q.arrival)
  end
  node.is_changed = true
  put(q, key, node)
end

local function leave(q, key, node)
  redis.call('ZREM', index_of(q, node.epoch), node.rank .. key)
end

local function is_leasable(q)
  return redis.call('EXISTS', index_of(q, q.epoch)) == 1
    or q.shifted == 1 and redis.call('EXISTS', index_of(q, q.epoch - 1)) == 1
end

local function settle_epoch(q)
  if q.waiting == 0 and q.leased == 0 then
    q.epoch = q.epoch + 1
    q.shifted = 0
    q.v = 0
  end
end

local function wake(q)
  if (q.is_due_earlier or is_leasable(q)) and redis.call('LLEN', q.wake) == 0 then
    redis.call('LPUSH', q.wake, '1')
  end
end
