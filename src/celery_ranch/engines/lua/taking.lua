-- taking: what waits below a node that is being withdrawn leaves its place.
--
-- NEEDS  filing, returns
-- KEYS   none
-- ARGV   dead_limit num   how many dead letters a queue keeps
-- GIVES  sweep_slice(q, one, limit, now)  take up to `limit` entries of a withdrawal, and look
--                               at no more than a script should; when none is left, its node
--                               may race again
--
-- A key's delayed entries leave first: one that comes due meanwhile is met among those that
-- wait. They are gone through by due time, past those that were stored later.
local MOST_LOOKS = 1000
local LOOKS_PER_KEY = 10
local KEYS_PER_SCAN = 100
local looks = MOST_LOOKS

local function accept(q, one, id, sequence, level, due, now)
  one.taken = one.taken + 1
  if one.kind == 'cancel' then return put_aside(q, one.number, id, nil, sequence, nil) end
  local value = redis.call('HGET', q.entries, id)
  local _, _, _, _, key = header_of(value)
  if not key then
    bury(q, id, one.current, 0, 'unreadable record', now, dead_limit)
  elseif one.kind == 'file' then
    file(q, id, value, one.key ~= '' and one.key or key, sequence, due, now)
  else
    put_aside(q, one.number, id, value, sequence, due)
  end
end

-- How many of its members come before what is to be looked at next.
local function rank_after(delayed, one)
  if one.member == '' then return 0 end
  local is_gone = redis.call('ZADD', delayed, 'NX', one.due, one.member) == 1
  local rank = redis.call('ZRANK', delayed, one.member)
  if not is_gone then return rank + 1 end
  redis.call('ZREM', delayed, one.member)
  return rank
end

local function take_from_page(q, one, key, page, now)
  local members, taken = {}, {}
  for i = 1, #page, 2 do
    local member = page[i]
    local sequence = tonumber(string.sub(member, 1, 16))
    if not sequence or sequence < one.number then
      members[#members + 1] = member
      taken[#taken + 1] = {
        id = string.sub(member, 19), sequence = sequence or 0, level = string.byte(member, 18) - 48,
        due = {at = tonumber(page[i + 1]), flag = string.sub(member, 17, 17)},
      }
    end
  end
  local old = first_delayed(q, key)
  write('ZREM', delayed_of(q, key), members)
  set_timer(q, key, old)
  count_delayed(q, key, -#members)
  for _, entry in ipairs(taken) do
    accept(q, one, entry.id, entry.sequence, entry.level, entry.due, now)
  end
  return #members
end

-- What is left of the limit; nothing if there may be more to look at.
local function take_delayed(q, one, key, limit, now)
  local delayed = delayed_of(q, key)
  while limit > 0 and looks > 0 do
    if size_of(delayed) == 0 then return limit end
    local rank = rank_after(delayed, one)
    local page = redis.call('ZRANGE', delayed, rank, rank + limit - 1, 'WITHSCORES')
    if #page == 0 then return limit end
    looks = looks - #page / 2
    one.member, one.due = page[#page - 1], page[#page]
    limit = limit - take_from_page(q, one, key, page, now)
  end
  return nil
end

local function take_ready(q, one, key, limit, now)
  for level = 0, 10 do
    local ready = ready_of(q, level, key)
    local found = limit > 0 and size_of(ready) > 0 and redis.call('ZRANGEBYSCORE', ready,
      '-inf', '(' .. text(one.number), 'WITHSCORES', 'LIMIT', 0, limit) or {}
    if #found > 0 then
      redis.call('ZREMRANGEBYRANK', ready, 0, #found / 2 - 1)
      drop_ready(q, key, level, #found / 2)
      for i = 1, #found, 2 do
        accept(q, one, found[i], tonumber(found[i + 1]), level, nil, now)
      end
      limit = limit - #found / 2
    end
  end
  return limit
end

-- Into keys_of from the nodes below; whether there may be more.
local function scan_below(q, one)
  if one.scan == 'end' or one.scan == '' and node_of(q, one.node).children == 0 then
    return false
  end
  local cursor = one.scan == '' and '0' or one.scan
  local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', KEYS_PER_SCAN)
  local prefix, keys = one.node .. '\31', {}
  for i = 1, #scan[2], 2 do
    local name = scan[2][i]
    if string.sub(name, 1, #prefix) == prefix and key_of(name) == name then
      keys[#keys + 1] = 0
      keys[#keys + 1] = name
    end
  end
  write('ZADD', keys_of(q, one.number), keys)
  looks = looks - #scan[2] / 2
  one.scan = scan[1] == '0' and 'end' or scan[1]
  return true
end

local function next_key(q, one)
  while looks > 0 do
    local key = redis.call('ZRANGE', keys_of(q, one.number), 0, 0)[1]
    if key then return key end
    if not scan_below(q, one) then
      one.is_swept = true
      return nil
    end
  end
  return nil
end

local function sweep_slice(q, one, limit, now)
  local key = next_key(q, one)
  while key do
    looks = looks - LOOKS_PER_KEY
    one.current = key
    limit = take_delayed(q, one, key, limit, now)
    limit = limit and take_ready(q, one, key, limit, now)
    if not limit or limit == 0 then break end
    redis.call('ZREM', keys_of(q, one.number), key)
    one.due, one.member = '0', ''
    key = next_key(q, one)
  end
  remember(q, one, 'taken', text(one.taken), 'scan', one.scan, 'due', one.due,
    'member', one.member)
  if one.is_swept then end_sweep(q, one) end
end
