-- places: where an entry can be, and its ways from one place to another.
--
-- NEEDS  policies
-- KEYS   none
-- ARGV   none
-- GIVES  header_of(value)      deliveries, expiry ('-': none), place, level, key, and
--                              where the rest begins, which stays as it was stored,
--                              and the message; nil if the header cannot be read
--        SUSPECT               the place of what a dead worker held, until it is
--                              delayed or dead; who leases it is told
--        terms_of(value)       expiry and cost alone; nil if the header cannot be read
--        entry_of(deliveries, expires, place, rest)  the value of an entry
--        flag_of(sequence, flag, level)  the place of a delayed entry
--        add_ready(q, key, level, sequence, id)  it waits; nodes enter if need be
--        add_delayed(q, key, due, place, id)  it waits for its time
--        remove_delayed(q, key, member)    whether it was there
--        first_delayed(q, key)             {member, due}; neither if there is none
--        set_timer(q, key, old)            old: the key's first delayed before
--        bury(q, id, key, deliveries, reason, now, limit)  to the dead letters
--        release(q, lease, due, now)       to the place of its number
--        release_suspect(q, lease, now)    the same, from a dead worker
--        requeue(q, lease, has_delay, now, most, limit)  the same with a delivery
--                                          more, or to the dead letters
--
-- The value of an entry is its deliveries, expiry, place, level, cost ('-': 1, 'm':
-- measured), and size of its key, each with a space after it, then key and message.
local SUSPECT = '+'

local function header_of(value)
  if not value then return nil end
  local deliveries, expires, place, rest, level, size, at =
    string.match(value, '^(%d+) (%S+) (%S+) ()(%d+) %S+ (%d+) ()')
  level = tonumber(level)
  if not level or level > 10 then return nil end
  local message_at = at + tonumber(size)
  if message_at > #value + 1 then return nil end
  return tonumber(deliveries), expires, place, level,
    string.sub(value, at, message_at - 1), rest, message_at
end

-- What leasing needs of the header: less than half the work.
local function terms_of(value)
  if not value then return nil end
  local expires, cost, size, at = string.match(value, '^%d+ (%S+) %S+ %d+ (%S+) (%d+) ()')
  if at and at + tonumber(size) <= #value + 1 then return expires, cost end
  return nil
end

local function entry_of(deliveries, expires, place, rest)
  return text(deliveries) .. ' ' .. expires .. ' ' .. place .. ' ' .. rest
end

local function flag_of(sequence, flag, level)
  return padded(sequence) .. flag .. string.char(48 + level)
end

local function add_ready(q, key, level, sequence, id)
  local ready, leaf = ready_of(q, level, key), key
  -- Where no key has more than one part, nodes need not be looked at.
  if q.paths > 0 or parent_of(key) ~= '' then leaf = leaf_of(q, key).name end
  add('ZADD', ready, sequence, id)
  count_waiting(q, leaf, level, 1)
  if redis.call('ZCARD', ready) == 1 then enter(q, known(q, leaf), level) end
end

local function first_delayed(q, key)
  return redis.pcall('ZRANGE', delayed_of(q, key), 0, 0, 'WITHSCORES')
end

local function set_timer(q, key, old)
  local new = first_delayed(q, key)
  if old[1] == new[1] then return end
  if old[1] then drop_time(q, string.sub(old[1], 1, 16) .. key) end
  if new[1] then set_time(q, string.sub(new[1], 1, 16) .. key, new[2]) end
end

-- Of all nodes on the way that have children.
local function count_delayed(q, key, more)
  q.delayed = q.delayed + more
  if q.paths == 0 then return end
  for _, name in ipairs(way_of(key)) do
    local node = node_of(q, name)
    if node.children > 0 then
      node.delayed, node.is_changed = math.max(0, node.delayed + more), true
    end
  end
end

local function add_delayed(q, key, due, place, id)
  known(q, key)
  local old = first_delayed(q, key)
  add('ZADD', delayed_of(q, key), due, place .. id)
  set_timer(q, key, old)
  count_delayed(q, key, 1)
end

local function remove_delayed(q, key, member)
  local old = first_delayed(q, key)
  if redis.pcall('ZREM', delayed_of(q, key), member) ~= 1 then return false end
  set_timer(q, key, old)
  count_delayed(q, key, -1)
  return true
end

local function bury(q, id, key, deliveries, reason, now, limit)
  local value = redis.call('HGET', q.entries, id)
  local _, expires, _, _, _, rest_at = header_of(value)
  local rest = rest_at and string.sub(value, rest_at)
    or '5 - ' .. text(#key) .. ' ' .. key .. (value or '')
  local entry = entry_of(deliveries, expires or '-', '-', rest)
  redis.call('HSET', q.entries, id, entry)
  q.deaths = q.deaths + 1
  add('ZADD', q.dead, q.deaths, id)
  add('HSET', q.reasons, id, text(now) .. ' ' .. reason)
  local excess = redis.call('ZCARD', q.dead) - limit
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', q.dead, math.min(excess, 100))
    for i = 1, #oldest, 2 do
      redis.call('HDEL', q.entries, oldest[i])
      redis.call('HDEL', q.reasons, oldest[i])
    end
  end
end

local function put_back(q, lease, due, now)
  q.is_given_back = true
  refresh(q, lease.key, now)
  if due then
    add_delayed(q, lease.key, due, flag_of(lease.sequence, 'k', lease.level), lease.id)
  else
    add_ready(q, lease.key, lease.level, lease.sequence, lease.id)
  end
end

-- An entry that cannot be read stays as it is: leasing it again buries it.
-- One without a due time comes from a dead worker.
local function rewrite(q, lease, more_deliveries, due)
  local value = redis.call('HGET', q.entries, lease.id)
  local deliveries, expires, _, _, _, rest_at = header_of(value)
  if not deliveries then return end
  local place = due and flag_of(lease.sequence, 'k', lease.level) or SUSPECT
  redis.call('HSET', q.entries, lease.id, entry_of(deliveries + more_deliveries,
    expires, place, string.sub(value, rest_at)))
end

local function release(q, lease, due, now)
  if due then rewrite(q, lease, 0, due) end
  put_back(q, lease, due, now)
end

local function release_suspect(q, lease, now)
  rewrite(q, lease, 0, nil)
  put_back(q, lease, nil, now)
end

local function requeue(q, lease, has_delay, now, most, limit)
  local deliveries = (header_of(redis.call('HGET', q.entries, lease.id)) or 0) + 1
  if deliveries > most then
    bury(q, lease.id, lease.key, deliveries, 'too many deliveries', now, limit)
    return 'dead'
  end
  local delay = math.min(100000 * 2 ^ math.min(deliveries - 1, 20), 60000000)
  local due = has_delay and now + delay or nil
  rewrite(q, lease, 1, due)
  put_back(q, lease, due, now)
  return 'requeued'
end
