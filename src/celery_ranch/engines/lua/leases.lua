-- leases: what a worker holds of a queue, and the reports on it.
--
-- NEEDS  costs, policies
-- KEYS   none
-- ARGV   none
-- GIVES  lease_of(held)          the lease that a text in `held` tells of; nil if there
--                                is none, or it cannot be read
--        held_text(state, level, sequence, charged, id, leaf)  the text of one; charged:
--                                with how much, to be corrected, or -1: the cost was known
--        free(q, lease, run_us, now)  give its slot back, if it was taken; what it was
--                                charged is corrected to what was measured, if it was

-- Publishers choose ids, so they may be longer than 64 KiB.
local HELD = '>BBddI4'
local HELD_SIZE = 22
local STATES = {'leased', 'started', 'acknowledged', 'finished'}
local STATE_CODES = {leased = 1, started = 2, acknowledged = 3, finished = 4}

local function lease_of(held)
  if not held or #held < HELD_SIZE then return nil end
  local state, level, sequence, charged, size, at = struct.unpack(HELD, held)
  if not STATES[state] or level > 10 or at + size > #held + 1 then return nil end
  return {
    state = STATES[state], level = level, sequence = sequence, charged = charged,
    id = string.sub(held, at, at + size - 1), leaf = string.sub(held, at + size),
  }
end

local function held_text(state, level, sequence, charged, id, leaf)
  return struct.pack(HELD, STATE_CODES[state], level, sequence, charged, #id) .. id .. leaf
end

-- Where nothing is limited, the node itself need not be looked at.
local function end_service(q, name)
  if q.version == 0 then
    q.services = q.services or {}
    q.services[name] = (q.services[name] or 0) + 1
    return
  end
  local node = node_of(q, name)
  if node.is_known then
    node.in_service, node.is_changed = math.max(0, node.in_service - 1), true
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
    end_service(q, name)
    name = parent
  until name == ''
  if q.version > 0 then judge_all(q, key_of(lease.leaf), now) end
end
