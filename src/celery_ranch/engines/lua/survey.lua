-- survey: count what a queue has at each level, and find keys that are worth measuring.
--
-- NEEDS  growth, places
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many nodes to look at from there
--        sample     num   how many keys to take of each kind
-- GIVES  surveyed now stored known cursor levels keys sampled   known: how many nodes;
--                         levels: of each four: level, waiting, in service, how many
--                         outermost nodes race; keys: nodes, perhaps more than once;
--                         sampled: of those that race at the root, by chance
now = time_of(now)
local q = open(base)
local levels, keys, sampled = {}, {}, {}

local function take_children(list, members)
  for _, member in ipairs(members) do list[#list + 1] = string.sub(member, 18) end
end

for _, race in ipairs(q.order) do
  local racing = 0
  for epoch = race.epoch - race.shifted, race.epoch do
    local index = index_of(race, epoch)
    local size = redis.call('ZCARD', index)
    racing = racing + size
    take_children(keys, redis.call('ZRANGE', index, 0, sample - 1))
    if size > sample then take_children(keys, redis.call('ZRANGE', index, -sample, -1)) end
    if size > 0 then take_children(sampled, redis.call('ZRANDMEMBER', index, -sample)) end
  end
  local at = #levels
  levels[at + 1], levels[at + 2] = race.level, race.waiting
  levels[at + 3], levels[at + 4] = race.in_service, racing
end

-- Who has more entries is drawn more often. Long ones are passed over.
local ids = redis.call('EXISTS', q.entries) == 1
  and redis.call('HRANDFIELD', q.entries, -sample) or {}
for _, id in ipairs(ids) do
  if redis.call('HSTRLEN', q.entries, id) < 20000 then
    local _, _, _, _, key = header_of(redis.call('HGET', q.entries, id))
    keys[#keys + 1] = key
  end
end

-- Of a slice of all nodes: some that are blocked, and the longest backlogs.
local scan = redis.call('HSCAN', q.nodes, cursor, 'COUNT', limit)
local longest, blocked = {}, 0
for i = 1, #scan[2], 2 do
  local node, waiting = read_node(q, scan[2][i], scan[2][i + 1]), 0
  local is_key = key_of(node.name) == node.name
  for _, stand in ipairs(node) do
    waiting = waiting + redis.call('ZCARD', ready_of(q, stand.level, node.name))
  end
  if node.blocks > 0 and is_key and blocked < sample then
    keys[#keys + 1], blocked = node.name, blocked + 1
  elseif waiting > 0 then
    longest[#longest + 1] = {name = node.name, waiting = waiting}
  end
end
table.sort(longest, function(a, b) return a.waiting > b.waiting end)
for i = 1, math.min(sample, #longest) do keys[#keys + 1] = longest[i].name end

return {
  'surveyed', now, q.stored, redis.call('HLEN', q.nodes), scan[1], levels, keys, sampled,
}
