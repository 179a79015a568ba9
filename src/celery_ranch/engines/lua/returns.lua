-- returns: the ways of an entry back from a worker, and to the dead letters.
--
-- NEEDS  places, withdrawals
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  bury(q, id, key, deliveries, reason, now, limit)  to the dead letters
--        dispose(q, lease, kind, delay, reason, now, most, limit)  where it goes that
--                                          was released, requeued or is dead
--        release_suspect(q, lease, now)    to the place of its number, from a dead worker
--        requeue(q, lease, has_delay, now, most, limit)  the same with a delivery
--                                          more, or to the dead letters
local function bury(q, id, key, deliveries, reason, now, limit)
  local value = redis.call('HGET', q.entries, id)
  local _, expires, _, _, _, rest_at = header_of(value)
  local rest = rest_at and string.sub(value, rest_at)
    or text(now) .. ' 5 - ' .. text(#key) .. ' ' .. key .. (value or '')
  local entry = entry_of(deliveries, expires or '-', '-', rest)
  redis.call('HSET', q.entries, id, entry)
  q.deaths = q.deaths + 1
  add('ZADD', rare(q, 'dead'), q.deaths, id)
  add('HSET', rare(q, 'reasons'), id, text(now) .. ' ' .. reason)
  local excess = redis.call('ZCARD', rare(q, 'dead')) - limit
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', rare(q, 'dead'), math.min(excess, 100))
    for i = 1, #oldest, 2 do
      redis.call('HDEL', q.entries, oldest[i])
      redis.call('HDEL', rare(q, 'reasons'), oldest[i])
    end
  end
end

local function put_back(q, lease, due, now)
  q.is_given_back = true
  refresh(q, key_of(lease.leaf), now)
  if due then
    add_delayed(q, key_of(lease.leaf), due, flag_of(lease.sequence, 'k', lease.level), lease.id)
  else
    add_ready(q, key_of(lease.leaf), lease.level, lease.sequence, lease.id)
  end
end

-- What was leased when its key was withdrawn is none of what waited there then.
local function renumber(q, lease)
  if is_withdrawing(q, key_of(lease.leaf)) then lease.sequence = next_sequence(q) end
end

-- An entry that cannot be read stays as it is: leasing it again buries it.
-- One without a due time comes from a dead worker. What never started waits as it did.
local function rewrite(q, lease, more_deliveries, due, since)
  local value = redis.call('HGET', q.entries, lease.id)
  local deliveries, expires, _, _, _, rest_at, _, was = header_of(value)
  if not deliveries then return end
  local place = due and flag_of(lease.sequence, 'k', lease.level) or SUSPECT
  local rest = string.sub(value, rest_at)
  if since then rest = text(since) .. string.sub(rest, #was + 1) end
  redis.call('HSET', q.entries, lease.id,
    entry_of(deliveries + more_deliveries, expires, place, rest))
end

local function release(q, lease, due, now)
  renumber(q, lease)
  if due then rewrite(q, lease, 0, due, due) end
  put_back(q, lease, due, now)
end

local function release_suspect(q, lease, now)
  renumber(q, lease)
  rewrite(q, lease, 0)
  put_back(q, lease, nil, now)
end

local function requeue(q, lease, has_delay, now, most, limit)
  local deliveries = (header_of(redis.call('HGET', q.entries, lease.id)) or 0) + 1
  if deliveries > most then
    bury(q, lease.id, key_of(lease.leaf), deliveries, 'too many deliveries', now, limit)
    return 'dead'
  end
  renumber(q, lease)
  local delay = math.min(100000 * 2 ^ math.min(deliveries - 1, 20), 60000000)
  local due = has_delay and now + delay or nil
  rewrite(q, lease, 1, due, due or now)
  put_back(q, lease, due, now)
  return 'requeued'
end

local function dispose(q, lease, kind, delay, reason, now, most, limit)
  if kind == 'released' then
    release(q, lease, delay > 0 and now + delay or nil, now)
  elseif kind == 'requeued' then
    requeue(q, lease, true, now, most, limit)
  else
    local count = header_of(redis.call('HGET', q.entries, lease.id)) or 0
    bury(q, lease.id, key_of(lease.leaf), count, reason, now, limit)
  end
end
