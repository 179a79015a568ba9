-- places: where an entry can be, and its ways from one place to another.
--
-- NEEDS  policies
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  header_of(value)      deliveries, expiry ('-': none), place, level, key, and
--                              where the rest begins, which stays as it was stored,
--                              and the message, and since when it waits; nil if the
--                              header cannot be read
--        SUSPECT               the place of what a dead worker held, until it is
--                              delayed or dead; who leases it is told
--        entry_of(deliveries, expires, place, rest)  the value of an entry
--        flag_of(sequence, flag, level)  the place of a delayed entry
--        add_ready(q, key, level, sequence, id)  it waits; nodes enter if need be
--        drop_ready(q, key, level, count)  so many left that waited; nodes leave if need be
--        add_delayed(q, key, due, place, id)  it waits for its time
--        remove_delayed(q, key, member)    whether it was there
--        first_delayed(q, key)             {member, due}; neither if there is none
--        set_timer(q, key, old)            old: the key's first delayed before
--
-- The value of an entry is its deliveries, expiry, place, the time from which on it
-- could have run, level, cost ('-': 1, 'm': measured), and size of its key, each with a
-- space after it, then key and message.
local SUSPECT = '+'

local function header_of(value)
  if not value then return nil end
  local deliveries, expires, place, rest, since, level, size, at =
    string.match(value, '^(%d+) (%S+) (%S+) ()(%S+) (%d+) %S+ (%d+) ()')
  level = tonumber(level)
  if not level or level > 10 then return nil end
  local message_at = at + tonumber(size)
  if message_at > #value + 1 then return nil end
  return tonumber(deliveries), expires, place, level,
    string.sub(value, at, message_at - 1), rest, message_at, since
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

local function drop_ready(q, key, level, count)
  local leaf = leaf_of(q, key)
  local name = leaf.name
  count_waiting(q, name, level, -count)
  if redis.call('EXISTS', ready_of(q, level, key)) == 0 then leave(q, leaf, level) end
  repeat
    name = parent_of(name)
    race_of(q, level, name).is_ended = true
  until name == ''
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
