-- withdrawals: what is being taken away, and who works on it.
--
-- NEEDS  growth
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  begin_withdrawal(q, number, fields, till)  remember one; fields: a list of names and
--                               values (see below), till: how long its helper has it
--        withdrawal_of(q, number)  what is remembered of it; nil if it is over, or cannot
--                               be read
--        remember(q, one, ...)   change fields: names and values
--        claim(q, one, helper, now, till)  whether the helper has it from now on
--        abandoned(q, now, limit)  the numbers of those that nobody works on
--        first_unswept(q)        the number of the first whose entries still wait
--        end_sweep(q, one)       its entries are aside: the node may race again
--        end_withdrawal(q, number)  nothing is left of it
--        are_withdrawals_sound(q)  whether their keys are of the Redis types that verbs
--                               count on
--        is_withdrawing(q, key)  whether a node on the key's way is to be swept
--        aside_of(q, number)     zset: entry id -> the sequence number that it had
--        is_aside(q, id)         whether an entry is, of one of the first withdrawals
--        keys_of(q, number)      zset: what was found below its node and is to be swept
--
-- withdrawals zset  number -> until when its helper has it, microseconds
-- unswept     zset  number -> number, of those whose entries are not all aside
-- withdrawing hash  node -> how many unswept ones there are of it: it is blocked
-- withdrawal:… hash  node, kind (cancel, file: move within the queue, move), queue and key
--                   (where to; the key may be empty: its own), helper, token, taken (how
--                   many), scan (the cursor below the node; empty: not begun), due and
--                   member (how far the first of keys_of is swept)
local FIELDS = {
  'node', 'kind', 'queue', 'key', 'helper', 'token', 'taken', 'scan', 'due', 'member',
}

local function aside_of(q, number)
  return rare(q, 'aside:' .. text(number))
end

local function keys_of(q, number)
  return rare(q, 'sweep:' .. text(number))
end

local function record_of(q, number)
  return rare(q, 'withdrawal:' .. text(number))
end

local function remember(q, one, ...)
  redis.call('HSET', record_of(q, one.number), ...)
end

-- Of more than so many whose helpers are all at work nobody looks at the last.
local function is_aside(q, id)
  for _, number in ipairs(redis.call('ZRANGE', rare(q, 'withdrawals'), 0, 999)) do
    if redis.call('ZSCORE', aside_of(q, tonumber(number)), id) then return true end
  end
  return false
end

local function begin_withdrawal(q, number, fields, till)
  redis.call('HSET', record_of(q, number), 'taken', '0', 'scan', '', 'due', '0', 'member', '',
    unpack(fields))
  redis.call('ZADD', rare(q, 'withdrawals'), till, text(number))
end

-- Of a record that something else was written to nothing is known.
local function withdrawal_of(q, number)
  local fields = redis.pcall('HGETALL', record_of(q, number))
  local one = {number = number}
  for i = 1, #fields, 2 do one[fields[i]] = fields[i + 1] end
  one.taken = tonumber(one.taken)
  for _, name in ipairs(FIELDS) do
    if not one[name] then return nil end
  end
  return one
end

local function end_withdrawal(q, number)
  redis.call('DEL', record_of(q, number))
  redis.call('ZREM', rare(q, 'withdrawals'), text(number))
end

local function claim(q, one, helper, now, till)
  local name = text(one.number)
  local until_now = tonumber(redis.call('ZSCORE', rare(q, 'withdrawals'), name) or 0)
  if one.helper ~= helper then
    if until_now > now then return false end
    remember(q, one, 'helper', helper)
  end
  redis.call('ZADD', rare(q, 'withdrawals'), till, name)
  return true
end

-- Members that are no numbers are not ours.
local function numbers_in(zset, members)
  local numbers = {}
  for _, member in ipairs(members) do
    local number = string.match(member, '^%d+$') and tonumber(member)
    if number then
      numbers[#numbers + 1] = number
    else
      redis.call('ZREM', zset, member)
    end
  end
  return numbers
end

local function abandoned(q, now, limit)
  local zset = rare(q, 'withdrawals')
  return numbers_in(zset, redis.pcall('ZRANGEBYSCORE', zset, '-inf', text(now), 'LIMIT', 0, limit))
end

local function first_unswept(q)
  local zset = rare(q, 'unswept')
  return numbers_in(zset, redis.call('ZRANGE', zset, 0, 9))[1]
end

local function end_sweep(q, one)
  redis.call('ZREM', rare(q, 'unswept'), text(one.number))
  if redis.call('HINCRBY', rare(q, 'withdrawing'), one.node, -1) > 0 then return end
  redis.call('HDEL', rare(q, 'withdrawing'), one.node)
  unblock(q, node_of(q, one.node), WITHDRAWN)
end

local function are_withdrawals_sound(q)
  return counts('ZCARD', rare(q, 'withdrawals')) and counts('ZCARD', rare(q, 'unswept'))
    and counts('HLEN', rare(q, 'withdrawing'))
end

local function is_withdrawing(q, key)
  if redis.call('EXISTS', rare(q, 'withdrawing')) == 0 then return false end
  for _, name in ipairs(way_of(key)) do
    if is_blocked(node_of(q, name), WITHDRAWN) then return true end
  end
  return false
end
