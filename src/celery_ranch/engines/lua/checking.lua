-- checking: what is found wrong, and whether an entry is where it stands.
--
-- NEEDS  leases, places, withdrawals
-- KEYS   none
-- ARGV   none
-- GIVES  reply                  'checked', the cursor, and of each thing found wrong
--                               three: kind, name, detail
--        found(kind, name, detail)  say that something is wrong
--        compare(name, where, counted, actual)  say it where a count is another
--        each_lease(q, visit)   visit(lease, worker) for every lease there is
--        open_withdrawals(q)    the numbers of those that are not over
--        add_above(counts, leaf, level, more)  to the counts of a leaf's races
--        check_ready(q, key, id)          an entry that stands among the key's due ones
--        check_delayed(q, key, member)    a member of its delayed ones
--        is_readable(q, name)   whether a node's record can be read, if there is one
--        is_to_be_served(q, node, level)  whether the node belongs in the index
--        check_child(q, race, epoch, member)  what stands in a race's index
local reply = {'checked', '0'}

local function found(kind, name, detail)
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = kind, name, detail or ''
end

local function compare(name, where, counted, actual)
  if counted ~= actual then
    found('wrong count', name, where .. text(counted) .. ' counted, ' .. text(actual) .. ' found')
  end
end

local function each_lease(q, visit)
  for _, worker in ipairs(redis.call('ZRANGE', q.workers, 0, -1)) do
    for _, held in ipairs(redis.call('HVALS', held_of(q, worker))) do
      local lease = lease_of(held)
      if lease then visit(lease, worker) end
    end
  end
end

local function open_withdrawals(q)
  local numbers = {}
  for i, name in ipairs(redis.call('ZRANGE', rare(q, 'withdrawals'), 0, -1)) do
    numbers[i] = tonumber(name)
  end
  return numbers
end

local function add_above(counts, leaf, level, more)
  local parent = leaf
  repeat
    parent = parent_of(parent)
    local race = string.format('%02.0f', level) .. parent
    counts[race] = (counts[race] or 0) + more
  until parent == ''
end

-- Of an entry that cannot be read check_entries tells.
local function check_standing(q, id, key, place, where)
  local value = redis.call('HGET', q.entries, id)
  if not value then return found('no entry', id, where .. key) end
  local _, _, its_place, _, its_key = header_of(value)
  if its_key and (its_key ~= key or place and its_place ~= place) then
    found('wrong place', id, where .. key)
  end
end

local function check_ready(q, key, id)
  check_standing(q, id, key, nil, 'waiting, key ')
end

local function check_delayed(q, key, member)
  check_standing(q, string.sub(member, 19), key, string.sub(member, 1, 18), 'delayed, key ')
end

local function is_readable(q, name)
  local node = node_of(q, name)
  return node.is_known or redis.call('HEXISTS', q.nodes, name) == 0
end

-- A node that is blocked for a reason which has passed would stay so for ever.
local function is_held_back(q, node)
  local limits = node.limits
  return is_blocked(node, PAUSED)
    or is_blocked(node, WITHDRAWN)
      and redis.call('HEXISTS', rare(q, 'withdrawing'), node.name) == 1
    or is_blocked(node, FULL) and limits and node.in_service >= limits.concurrency
    or is_blocked(node, PACED) and limits and limits.due > 0
end

local function is_to_be_served(q, node, level)
  return not is_held_back(q, node) and has_work(q, node, level)
end

local function check_child(q, race, epoch, member)
  local name = string.sub(member, 18)
  if not is_readable(q, name) then return end
  local node = node_of(q, name)
  local stand = stand_of(node, race.level)
  local is_its_place = node.parent == race.parent and stand.epoch == epoch
    and member_of(name, stand) == member
  if not is_its_place or not is_to_be_served(q, node, race.level) then
    found('stray index', name)
  end
end
