-- leases: what a worker holds of a queue, and the reports on it.
--
-- NEEDS  returns, costs
-- KEYS   none
-- ARGV   none
-- GIVES  lease_of(number, held)   the lease that a text in `held` tells of; nil if there
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
local MAX_COST = 1000000000000

local function lease_of(number, held)
  if not held or #held < HELD_SIZE then return nil end
  local state, level, sequence, charged, size, at = struct.unpack(HELD, held)
  if not STATES[state] or level > 10 or at + size > #held + 1 then return nil end
  local leaf = string.sub(held, at + size)
  return {
    number = number, state = STATES[state], level = level, sequence = sequence,
    charged = charged, id = string.sub(held, at, at + size - 1), leaf = leaf,
    key = key_of(leaf),
  }
end

local function held_text(state, level, sequence, charged, id, leaf)
  return struct.pack(HELD, STATE_CODES[state], level, sequence, charged, #id) .. id .. leaf
end

-- Where there are limits they are judged by it at once.
local function end_service(q, name)
  if q.version == 0 then
    q.services[name] = (q.services[name] or 0) + 1
    return
  end
  local node = node_of(q, name)
  if node.is_known then
    node.in_service, node.is_changed = math.max(0, node.in_service - 1), true
  end
end

local function finish(q, leaf, level)
  local name = leaf
  repeat
    local parent = parent_of(name)
    local race = race_of(q, level, parent)
    race.in_service, race.is_changed = race.in_service - 1, true
    q.ended[race] = true
    end_service(q, name)
    name = parent
  until name == ''
end

local function free(q, lease, run_us, now)
  if lease.state == 'finished' then return end
  if not run_us and lease.state == 'leased' then run_us = 0 end
  if lease.charged >= 0 and run_us then
    run_us = math.min(run_us, MAX_COST)
    correct(q, lease.leaf, lease.level, lease.charged, run_us)
    if run_us > 0 then learn(q, known(q, lease.key), run_us) end
  end
  finish(q, lease.leaf, lease.level)
  if q.version > 0 then judge_all(q, lease.key, now) end
end
