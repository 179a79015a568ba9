-- filing: an entry from one key to another one of its queue.
--
-- NEEDS  places, withdrawals
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  file(q, id, value, key, sequence, due, now)  let an entry that left its place wait
--                               under a key, at the place of its number; due: nil if it is
--                               due, else its time and its flag (n or k)
--        put_aside(q, number, id, value, sequence, due)  let one that left its place be
--                               aside; its record says when it is due, for the way back
--        rest_with(value, rest_at, key)  the rest of a value (see places.lua) under a key
local function rest_with(value, rest_at, key)
  local terms, size, at = string.match(value, '^(%S+ %d+ %S+) (%d+) ()', rest_at)
  return terms .. ' ' .. text(#key) .. ' ' .. key .. string.sub(value, at + tonumber(size))
end

local function put_aside(q, number, id, value, sequence, due)
  redis.call('ZADD', aside_of(q, number), sequence, id)
  if not due then return end
  local deliveries, expires, _, _, _, rest_at = header_of(value)
  redis.call('HSET', q.entries, id,
    entry_of(deliveries, expires, '@' .. text(due.at), string.sub(value, rest_at)))
end

local function file(q, id, value, key, sequence, due, now)
  local deliveries, expires, place, level, _, rest_at = header_of(value)
  if is_withdrawing(q, key) then sequence = next_sequence(q) end
  known(q, key)
  refresh(q, key, now)
  if due then place = flag_of(sequence, due.flag, level) end
  redis.call('HSET', q.entries, id,
    entry_of(deliveries, expires, place, rest_with(value, rest_at, key)))
  if due then
    add_delayed(q, key, due.at, place, id)
  else
    add_ready(q, key, level, sequence, id)
  end
end
