-- choosing: whose turn it is, and what taking it costs.
--
-- NEEDS  places, charging
-- KEYS   none
-- ARGV   none
-- GIVES  choose(queues)           queue, key and record whose turn it is, taken out of
--                                 the index; nothing if no index has any
--        take_first(q, key, now)  the key's first entry, out of the backlog: id,
--                                 sequence, value; leasable, expired, unreadable, or
--                                 none if the index was wrong about the key
--        put_first(q, key, id, sequence)  back again
--        charge_node(q, node, now)  what one entry costs its key
--        shift(q)                 bring tags down before they leave the exact range

-- A shifted epoch's keys are in two indexes until the old one has run empty.
local function first_of(q)
  if q.shifted == 0 then return redis.call('ZPOPMIN', index_of(q, q.epoch))[1] end
  local new = redis.call('ZRANGE', index_of(q, q.epoch), 0, 0, 'WITHSCORES')
  local old = redis.call('ZRANGE', index_of(q, q.epoch - 1), 0, 0, 'WITHSCORES')
  local chosen, epoch = new[1], q.epoch
  if old[1] then
    local lead = new[1] and tonumber(new[2]) - math.max(0, tonumber(old[2]) - tag_limit)
    if not lead or lead > 0
      or lead == 0 and string.sub(old[1], 1, 17) < string.sub(new[1], 1, 17) then
      chosen, epoch = old[1], q.epoch - 1
    end
  end
  if chosen then redis.call('ZREM', index_of(q, epoch), chosen) end
  return chosen
end

local function choose(queues)
  while true do
    local q
    for _, other in ipairs(queues) do
      if not other.is_dry and (not q or other.turn < q.turn) then q = other end
    end
    if not q then return nil end
    local member = first_of(q)
    if member then
      local key = string.sub(member, 18)
      return q, key, node_of(q, key)
    end
    q.is_dry = true
  end
end

local function take_first(q, key, now)
  local head = redis.pcall('ZPOPMIN', ready_of(q, key))
  if not head[1] then return nil, nil, nil, 'none' end
  q.waiting = q.waiting - 1
  local value = redis.call('HGET', q.entries, head[1])
  local expires = expiry_of(value)
  local state = 'leasable'
  if not expires then
    state = 'unreadable'
  elseif expires ~= '-' and tonumber(expires) <= now then
    state = 'expired'
  end
  return head[1], tonumber(head[2]), value, state
end

local function put_first(q, key, id, sequence)
  redis.call('ZADD', ready_of(q, key), sequence, id)
  q.waiting = q.waiting + 1
end

local function charge_node(q, node, now)
  local s = present(q, node)
  q.v = math.max(q.v, s)
  node.s = s + charge(node.share)
  node.epoch = q.epoch
  node.served, node.number = 1, q.number
  node.at = now
  node.is_changed = true
end

local function shift(q)
  if q.v >= tag_limit then
    q.epoch = q.epoch + 1
    q.shifted = 1
    q.v = q.v - tag_limit
  end
end
