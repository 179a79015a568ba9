-- check_keys: look whether keys stand for their turn, have a timer and a sound backlog.
--
-- NEEDS  checking
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many keys to look at, and entries of theirs
-- GIVES  checked cursor wrong...  of each thing found wrong three: kind, name, detail;
--                         the kind `long` names a key whose entries were too many
--                         to be looked at
local q = open(base)
local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', limit)
reply[2] = scan[1]

local function check_turn(key, node)
  if not is_to_be_served(q, key, node) then return end
  local is_valid = node.epoch == q.epoch or q.shifted == 1 and node.epoch == q.epoch - 1
  local score = redis.call('ZSCORE', index_of(q, node.epoch), member_of(key, node))
  if not is_valid or not score or tonumber(score) ~= node.s then found('not in index', key) end
end

local function check_timer(key)
  local first = first_delayed(q, key)
  if not first[1] then return end
  local due = redis.call('ZSCORE', q.timers, string.sub(first[1], 1, 16) .. key)
  if tonumber(due) ~= tonumber(first[2]) then found('no timer', key) end
end

local budget = limit
local function check_backlog(key)
  local ready, delayed = ready_of(q, key), delayed_of(q, key)
  local size = redis.call('ZCARD', ready) + redis.call('ZCARD', delayed)
  if size > budget then return found('long', key) end
  budget = budget - size
  for _, id in ipairs(redis.call('ZRANGE', ready, 0, -1)) do check_ready(q, key, id) end
  for _, member in ipairs(redis.call('ZRANGE', delayed, 0, -1)) do
    check_delayed(q, key, member)
  end
end

for i = 1, #scan[2], 2 do
  local key = scan[2][i]
  local node = readable_node(q, key)
  if not node then
    found('unreadable', key, 'key')
  else
    check_turn(key, node)
    check_timer(key)
    check_backlog(key)
  end
end
return reply
