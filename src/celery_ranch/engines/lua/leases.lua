-- leases: what a worker holds of a queue, and the reports on it.
--
-- NEEDS  costs, policies
-- LATER  count_end
-- KEYS   none
-- ARGV   none
-- GIVES  lease_of(held)          the lease that a text in `held` tells of; nil if there
--                                is none, or it cannot be read
--        held_text(state, level, sequence, charged, id, leaf)  the text of one; charged:
--                                with how much, to be corrected, or -1: the cost was known
--        free(q, lease, run_us, now)  give its slot back, if it was taken; what it was
--                                charged is corrected to what was measured, if it was
--        end_services(q)         count with the nodes what of theirs was freed; before they
--                                are saved

-- Publishers choose ids, so they may be longer than 64 KiB.
local HELD = '>BBddI4'
local HELD_SIZE = 22

local function lease_of(held)
  if not held or #held < HELD_SIZE then return nil end
  local code, level, sequence, charged, size, at = struct.unpack(HELD, held)
  local state = code == 1 and 'leased' or code == 2 and 'started'
    or code == 3 and 'acknowledged' or code == 4 and 'finished'
  if not state or level > 10 or at + size > #held + 1 then return nil end
  return {
    state = state, level = level, sequence = sequence, charged = charged,
    id = string.sub(held, at, at + size - 1), leaf = string.sub(held, at + size),
  }
end

local function held_text(state, level, sequence, charged, id, leaf)
  local code = state == 'leased' and 1 or state == 'started' and 2
    or state == 'acknowledged' and 3 or 4
  return struct.pack(HELD, code, level, sequence, charged, #id) .. id .. leaf
end

local function count_end(node, ended)
  if node.is_known then
    node.in_service, node.is_changed = math.max(0, node.in_service - ended), true
  end
end

local function free(q, lease, run_us, now)
  if lease.state == 'finished' then return end
  if lease.charged >= 0 then correct(q, lease, run_us) end
  local name = lease.leaf
  repeat
    local parent = parent_of(name)
    local race = race_of(q, lease.level, parent)
    race.in_service, race.is_ended, race.is_changed = race.in_service - 1, true, true
    if q.version > 0 then
      count_end(node_of(q, name), 1)
    else
      -- Where nothing is limited, the node itself need not be looked at now.
      q.services = q.services or {}
      q.services[name] = (q.services[name] or 0) + 1
    end
    name = parent
  until name == ''
  if q.version > 0 then judge_all(q, key_of(lease.leaf), now) end
end

-- At its place in the record, where nothing else of the node is known here.
local function end_services(q)
  local names, records = {}, {}
  for name, ended in pairs(q.services or {}) do
    local node = q.loaded[name]
    if not node then
      names[#names + 1] = name
    else
      count_end(node, ended)
    end
  end
  for first = 1, #names, 1000 do
    local last = math.min(first + 999, #names)
    local found = redis.call('HMGET', q.nodes, unpack(names, first, last))
    for i, record in ipairs(found) do
      local name = names[first + i - 1]
      if record and #record >= 17 then
        local in_service = struct.unpack('>I4', record, 10) - q.services[name]
        records[#records + 1] = name
        records[#records + 1] = string.sub(record, 1, 9)
          .. struct.pack('>I4', in_service > 0 and in_service or 0) .. string.sub(record, 14)
      end
    end
  end
  write('HSET', q.nodes, records)
end
