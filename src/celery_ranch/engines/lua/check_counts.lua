-- check_counts: compare a queue's counters and leases with what there is.
--
-- NEEDS  checking
-- KEYS   queues     zset  names of the queues that ever held an entry
--        base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        limit      num   how many nodes at most to add up the backlogs of
-- GIVES  checked 0 wrong...  of each thing found wrong three: kind, name, detail
local q = open(base)

local taken, unacknowledged = {}, 0
each_lease(q, function(lease, worker)
  if lease.state ~= 'finished' then add_above(taken, lease.leaf, lease.level, 1) end
  if lease.state == 'acknowledged' then return end
  unacknowledged = unacknowledged + 1
  if redis.call('HEXISTS', q.entries, lease.id) == 0 then
    found('no entry', lease.id, 'a lease of worker ' .. worker)
  end
end)
local total = 0
for _, race in ipairs(q.order) do
  local field = string.format('%02.0f', race.level)
  compare('leased', 'level ' .. text(race.level) .. ': ', race.in_service, taken[field] or 0)
  total = total + race.waiting
end
local dead, aside, blocking = redis.call('ZCARD', rare(q, 'dead')), 0, {}
for _, number in ipairs(open_withdrawals(q)) do
  aside = aside + redis.call('ZCARD', aside_of(q, number))
  local one = withdrawal_of(q, number)
  local is_unswept = redis.call('ZSCORE', rare(q, 'unswept'), text(number))
  if not one then
    found('unreadable', text(number), 'withdrawal')
  elseif is_unswept then
    blocking[one.node] = (blocking[one.node] or 0) + 1
  end
end
for _, node in ipairs(redis.call('HKEYS', rare(q, 'withdrawing'))) do
  compare('withdrawing', 'key ' .. node .. ': ',
    tonumber(redis.call('HGET', rare(q, 'withdrawing'), node)), blocking[node] or 0)
end
compare('entries', '', total + q.delayed + dead + aside + unacknowledged,
  redis.call('HLEN', q.entries))
compare('reasons', '', dead, redis.call('HLEN', rare(q, 'reasons')))

local waiting, delayed, children = {}, {}, {}
local all_delayed, paths = 0, 0

local function add_up(name, node)
  if node.parent ~= '' then
    paths = paths + 1
    children[node.parent] = (children[node.parent] or 0) + 1
  end
  if key_of(name) ~= name then return end
  for _, race in ipairs(q.order) do
    local leaf = node.children > 0 and name .. '\31' or name
    add_above(waiting, leaf, race.level, redis.call('ZCARD', ready_of(q, race.level, name)))
  end
  local late = redis.call('ZCARD', delayed_of(q, name))
  all_delayed = all_delayed + late
  for _, above in ipairs(way_of(name)) do delayed[above] = (delayed[above] or 0) + late end
end

local function compare_races()
  for _, race in ipairs(q.order) do
    local field = string.format('%02.0f', race.level)
    compare('waiting', 'level ' .. text(race.level) .. ': ', race.waiting, waiting[field] or 0)
  end
  local records = redis.call('HKEYS', rare(q, 'races'))
  for _, field in ipairs(records) do
    local level, parent = tonumber(string.sub(field, 1, 2)), string.sub(field, 3)
    local race = race_of(q, level, parent)
    local where = 'below ' .. parent .. ', level ' .. text(level) .. ': '
    compare('waiting', where, race.waiting, waiting[field] or 0)
    compare('leased', where, race.in_service, taken[field] or 0)
  end
end

-- More nodes than can be looked at in one instant cannot be added up.
if redis.call('HLEN', q.nodes) <= limit then
  local names = redis.call('HKEYS', q.nodes)
  for _, name in ipairs(names) do add_up(name, node_of(q, name)) end
  compare_races()
  compare('delayed', '', q.delayed, all_delayed)
  compare('paths', '', q.paths, paths)
  for _, name in ipairs(names) do
    local node = node_of(q, name)
    compare('children', 'key ' .. name .. ': ', node.children, children[name] or 0)
    if node.children > 0 then
      compare('delayed', 'below ' .. name .. ': ', node.delayed, delayed[name] or 0)
    end
  end
end

local tokens = redis.call('LLEN', q.wake)
if tokens > 1 then found('too many tokens', '', text(tokens)) end
if q.sequence > 0 and not redis.call('ZSCORE', queues, queue_of(queues, base)) then
  found('unlisted queue', '')
end
return reply
