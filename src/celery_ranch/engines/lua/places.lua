-- places: where an entry can be, and its ways from one place to another.
--
-- NEEDS  tree
-- KEYS   none
-- ARGV   none
-- GIVES  header_of(value)      deliveries, expiry ('-': none), place, key, message at
--        SUSPECT               the place of what a dead worker held, until it is
--                              delayed or dead; who leases it is told
--        expiry_of(value)      the expiry alone; nil if the header cannot be read
--        entry_of(...)         the value of an entry, from the same and the message
--        add_ready(q, key, sequence, id)           it waits; the key enters if need be
--        add_delayed(q, key, due, sequence, flag, id)  it waits for its time
--        set_timer(q, key, old)                    old: the key's first delayed before
--        first_delayed(q, key)                     {member, due}; neither if there is none
--        bury(q, id, key, deliveries, reason, now, limit)  to the dead letters
--        release(q, lease, due)                    to the place of its number
--        release_suspect(q, lease)                 the same, from a dead worker
--        requeue(q, lease, has_delay, now, most, limit)  the same with a delivery
--                                                  more, or to the dead letters
local SUSPECT = '+'

local function header_of(value)
  if not value then return nil end
  local deliveries, expires, place, size, at = string.match(value, '^(%d+) (%S+) (%S+) (%d+) ()')
  if not at then return nil end
  local message_at = at + tonumber(size)
  if message_at > #value + 1 then return nil end
  return tonumber(deliveries), expires, place, string.sub(value, at, message_at - 1), message_at
end

-- What leasing needs of the header: less than half the work.
local function expiry_of(value)
  if not value then return nil end
  local expires, size, at = string.match(value, '^%d+ (%S+) %S+ (%d+) ()')
  if at and at + tonumber(size) <= #value + 1 then return expires end
  return nil
end

local function entry_of(deliveries, expires, place, key, message)
  return text(deliveries) .. ' ' .. expires .. ' ' .. place .. ' ' .. text(#key) .. ' '
    .. key .. message
end

-- What is of another type there is not ours, and has no entries. Any other
-- refusal is the script's: an entry would be counted and stand nowhere.
local function add(command, place, first, second)
  local reply = redis.pcall(command, place, first, second)
  if type(reply) == 'number' then return end
  if is_mistyped(reply) then redis.call('DEL', place) end
  redis.call(command, place, first, second)
end

local function add_ready(q, key, sequence, id)
  local ready = ready_of(q, key)
  add('ZADD', ready, sequence, id)
  q.waiting = q.waiting + 1
  if redis.call('ZCARD', ready) == 1 then
    local node = node_of(q, key)
    if node.paused == 0 then enter(q, key, node) end
  end
end

local function first_delayed(q, key)
  return redis.pcall('ZRANGE', delayed_of(q, key), 0, 0, 'WITHSCORES')
end

local function set_timer(q, key, old)
  local new = first_delayed(q, key)
  if old[1] == new[1] then return end
  if old[1] then redis.call('ZREM', q.timers, string.sub(old[1], 1, 16) .. key) end
  if new[1] then redis.call('ZADD', q.timers, new[2], string.sub(new[1], 1, 16) .. key) end
end

local function add_delayed(q, key, due, sequence, flag, id)
  local first = redis.call('ZRANGE', q.timers, 0, 0, 'WITHSCORES')
  if not first[1] or due < tonumber(first[2]) then q.is_due_earlier = true end
  local old = first_delayed(q, key)
  add('ZADD', delayed_of(q, key), due, padded(sequence) .. flag .. id)
  set_timer(q, key, old)
  q.delayed = q.delayed + 1
  local node = node_of(q, key)
  if node.is_new then node.is_changed = true end
end

local function bury(q, id, key, deliveries, reason, now, limit)
  local value = redis.call('HGET', q.entries, id)
  local _, expires, _, _, message_at = header_of(value)
  local message = message_at and string.sub(value, message_at) or value or ''
  local entry = entry_of(deliveries, expires or '-', '-', key, message)
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

local function put_back(q, lease, due)
  q.is_given_back = true
  if due then
    add_delayed(q, lease.key, due, lease.sequence, 'k', lease.id)
  else
    add_ready(q, lease.key, lease.sequence, lease.id)
  end
end

-- An entry that cannot be read stays as it is: leasing it again buries it.
-- One without a due time comes from a dead worker.
local function rewrite(q, lease, more_deliveries, due)
  local value = redis.call('HGET', q.entries, lease.id)
  local deliveries, expires, _, key, message_at = header_of(value)
  if not deliveries then return end
  local place = due and padded(lease.sequence) .. 'k' or SUSPECT
  redis.call('HSET', q.entries, lease.id, entry_of(deliveries + more_deliveries,
    expires, place, key, string.sub(value, message_at)))
end

local function release(q, lease, due)
  if due then rewrite(q, lease, 0, due) end
  put_back(q, lease, due)
end

local function release_suspect(q, lease)
  rewrite(q, lease, 0, nil)
  put_back(q, lease, nil)
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
  put_back(q, lease, due)
  return 'requeued'
end
