-- check_keys: look whether nodes stand for their turn, have timers and a sound backlog.
--
-- NEEDS  checking
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many nodes to look at, and entries of theirs
-- GIVES  checked cursor wrong...  of each thing found wrong three: kind, name, detail;
--                         the kind `long` names a key whose entries were too many
--                         to be looked at
local q = open(base)
local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', limit)
reply[2] = scan[1]

local taken = {}
each_lease(q, function(lease)
  if lease.state == 'finished' then return end
  for _, name in ipairs(way_of(lease.leaf)) do taken[name] = (taken[name] or 0) + 1 end
end)

local function check_turn(name, node, level)
  if not is_to_be_served(q, node, level) then return end
  local race, stand = race_of(q, level, node.parent), stand_of(node, level)
  local is_valid = stand.epoch == race.epoch
    or race.shifted == 1 and stand.epoch == race.epoch - 1
  local score = redis.call('ZSCORE', index_of(race, stand.epoch), member_of(name, stand))
  if not is_valid or not score or tonumber(score) ~= stand.s then found('not in index', name) end
end

local function check_time(name, member, due)
  if tonumber(redis.call('ZSCORE', q.timers, member)) ~= due then found('no timer', name) end
end

local function check_timers(name, node)
  local limits = node.limits
  if limits and limits.due > 0 then
    check_time(name, padded(limits.timer) .. '\31' .. name, limits.due)
  end
  local first = key_of(name) == name and first_delayed(q, name) or {}
  if first[1] then check_time(name, string.sub(first[1], 1, 16) .. name, tonumber(first[2])) end
end

local budget = limit
local function check_backlog(key)
  local size = redis.call('ZCARD', delayed_of(q, key))
  for _, race in ipairs(q.order) do
    size = size + redis.call('ZCARD', ready_of(q, race.level, key))
  end
  if size > budget then return found('long', key) end
  budget = budget - size
  for _, race in ipairs(q.order) do
    for _, id in ipairs(redis.call('ZRANGE', ready_of(q, race.level, key), 0, -1)) do
      check_ready(q, key, id)
    end
  end
  for _, member in ipairs(redis.call('ZRANGE', delayed_of(q, key), 0, -1)) do
    check_delayed(q, key, member)
  end
end

for i = 1, #scan[2], 2 do
  local name = scan[2][i]
  if is_readable(q, name) then
    local node = node_of(q, name)
    for _, race in ipairs(q.order) do check_turn(name, node, race.level) end
    check_timers(name, node)
    compare('leased', 'key ' .. name .. ': ', node.in_service, taken[name] or 0)
    if key_of(name) == name then check_backlog(name) end
  else
    found('unreadable', name, 'key')
  end
end
return reply
