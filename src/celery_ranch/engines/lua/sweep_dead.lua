-- sweep_dead: put back, or drop, the dead letters of a node or all, some at a time.
--
-- NEEDS  reviving
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        key        str   the node; empty: all keys
--        is_retried num   1: put back; 0: dropped
--        after      num   the how-manieth to die was looked at last
--        till       num   the how-manieth to die is the last to be looked at; negative: as
--                         many as have died
--        limit      num   how many to look at
-- GIVES  swept count after till   of those looked at so many were the node's; after is -1
--                         when all were looked at
now = time_of(now)
make_room(base)
local q = open(base)
if not is_sound(q) then return refusal(q) end
if till < 0 then till = q.deaths end

local function is_meant(its_key)
  return key == '' or its_key and (its_key == key
    or string.sub(its_key, 1, #key + 1) == key .. '\31')
end

local found = redis.call('ZRANGEBYSCORE', rare(q, 'dead'), '(' .. text(after), text(till),
  'WITHSCORES', 'LIMIT', 0, limit)
local count = 0
for i = 1, #found, 2 do
  local value = redis.call('HGET', q.entries, found[i])
  local _, _, _, _, its_key = header_of(value)
  if is_meant(its_key) then
    if is_retried == 0 then
      drop_dead(q, found[i])
      count = count + 1
    elseif its_key then
      revive(q, found[i], value, now)
      count = count + 1
    end
  end
end
save(q)
q.due_before = nil
if is_retried == 1 then wake(q) end
return {'swept', count, #found < limit * 2 and -1 or tonumber(found[#found]), till}
