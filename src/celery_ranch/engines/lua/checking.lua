-- checking: what is found wrong, and whether an entry is where it stands.
--
-- NEEDS  leases
-- KEYS   none
-- ARGV   none
-- GIVES  reply                  'checked', the cursor, and of each thing found wrong
--                               three: kind, name, detail
--        found(kind, name, detail)  say that something is wrong
--        each_lease(q, visit)   visit(state, entry id, worker) for every lease there is
--        check_ready(q, key, id)          an entry that stands among the key's due ones
--        check_delayed(q, key, member)    a member of its delayed ones
--        readable_node(q, key)  its record, as node_of; nil if it cannot be read
--        is_to_be_served(q, key, node)    whether the key belongs in the index
local reply = {'checked', '0'}

local function found(kind, name, detail)
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = kind, name, detail or ''
end

local function each_lease(q, visit)
  for _, worker in ipairs(redis.call('ZRANGE', q.workers, 0, -1)) do
    for _, held in ipairs(redis.call('HVALS', held_of(q, worker))) do
      local state, id = id_of_held(held)
      visit(state, id, worker)
    end
  end
end

-- Of an entry that cannot be read check_entries tells.
local function check_standing(q, id, key, place, where)
  local value = redis.call('HGET', q.entries, id)
  if not value then return found('no entry', id, where .. key) end
  local _, _, its_place, its_key = header_of(value)
  if its_key and (its_key ~= key or place and its_place ~= place) then
    found('wrong place', id, where .. key)
  end
end

local function check_ready(q, key, id)
  check_standing(q, id, key, nil, 'waiting, key ')
end

local function check_delayed(q, key, member)
  check_standing(q, string.sub(member, 18), key, string.sub(member, 1, 17), 'delayed, key ')
end

local function readable_node(q, key)
  local size = redis.call('HSTRLEN', q.nodes, key)
  if size > 0 and size ~= #struct.pack(NODE, 0, 0, 0, 0, 0, 0, 0) then return nil end
  return node_of(q, key)
end

local function is_to_be_served(q, key, node)
  return node.paused == 0 and redis.call('EXISTS', ready_of(q, key)) == 1
end
