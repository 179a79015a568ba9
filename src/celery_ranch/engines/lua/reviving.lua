-- reviving: dead letters that go.
--
-- NEEDS  places
-- KEYS   none
-- ARGV   none
-- GIVES  revive(q, id, value, now)  let one wait as if just stored; its record is readable
--        drop_dead(q, id)        for good; whether it was one
local function revive(q, id, value, now)
  local _, expires, _, level, key, rest_at, _, since = header_of(value)
  redis.call('ZREM', rare(q, 'dead'), id)
  redis.call('HDEL', rare(q, 'reasons'), id)
  redis.call('HSET', q.entries, id,
    entry_of(0, expires, '-', text(now) .. string.sub(value, rest_at + #since)))
  known(q, key)
  refresh(q, key, now)
  add_ready(q, key, level, next_sequence(q), id)
end

local function drop_dead(q, id)
  if redis.call('ZREM', rare(q, 'dead'), id) == 0 then return false end
  redis.call('HDEL', rare(q, 'reasons'), id)
  redis.call('HDEL', q.entries, id)
  return true
end
