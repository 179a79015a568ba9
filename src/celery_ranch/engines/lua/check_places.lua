-- check_places: look whether what stands in a place belongs there.
--
-- NEEDS  checking
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        place      str   ready, delayed, index, old_index, timers, dead or reasons
--        key        str   whose, if ready or delayed
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many to look at
-- GIVES  checked cursor wrong...  of each thing found wrong three: kind, name, detail
local q = open(base)

local function check_turn(epoch, member)
  local key = string.sub(member, 18)
  local node = readable_node(q, key)
  if not node then return end
  local is_its_place = node.epoch == epoch and member_of(key, node) == member
  if not is_its_place or not is_to_be_served(q, key, node) then found('stray index', key) end
end

local places = {
  ready = {ready_of(q, key), function(id) check_ready(q, key, id) end},
  delayed = {delayed_of(q, key), function(member) check_delayed(q, key, member) end},
  index = {index_of(q, q.epoch), function(member) check_turn(q.epoch, member) end},
  old_index = {index_of(q, q.epoch - 1), function(member) check_turn(q.epoch - 1, member) end},
  timers = {q.timers, function(member, due)
    local its_key = string.sub(member, 17)
    local first = first_delayed(q, its_key)
    local is_first = first[1] and string.sub(first[1], 1, 16) == string.sub(member, 1, 16)
    if not is_first or tonumber(first[2]) ~= tonumber(due) then found('stray timer', its_key) end
  end},
  dead = {q.dead, function(id)
    if redis.call('HEXISTS', q.entries, id) == 0 then found('no entry', id, 'dead letters') end
    if redis.call('HEXISTS', q.reasons, id) == 0 then found('no reason', id) end
  end},
  reasons = {q.reasons, function(id)
    if not redis.call('ZSCORE', q.dead, id) then found('stray reason', id) end
  end},
}

local name, check = unpack(places[place])
local scan = redis.call(place == 'reasons' and 'HSCAN' or 'ZSCAN', name, cursor, 'COUNT', limit)
reply[2] = scan[1]
for i = 1, #scan[2], 2 do check(scan[2][i], scan[2][i + 1]) end
return reply
