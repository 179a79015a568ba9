-- leases: what a worker holds of a queue, and the reports on it.
--
-- NEEDS  places
-- KEYS   none
-- ARGV   none
-- GIVES  lease_of(number, held)   the lease that a text in `held` tells of; nil if there
--                                is none, or it cannot be read
--        id_of_held(held)        its state and entry id alone: a third of the work
--        held_text(state, sequence, id, key)  the text of one
--        free(q, lease)           count its slot as free, if it was taken
-- Publishers choose ids, so they may be longer than 64 KiB.
local HELD = '>BdI4'
local STATES = {'leased', 'started', 'acknowledged', 'finished'}
local STATE_CODES = {leased = 1, started = 2, acknowledged = 3, finished = 4}

local function lease_of(number, held)
  if not held or #held < 13 then return nil end
  local state, sequence, size, at = struct.unpack(HELD, held)
  if not STATES[state] or at + size > #held + 1 then return nil end
  return {
    number = number, state = STATES[state], sequence = sequence,
    id = string.sub(held, at, at + size - 1), key = string.sub(held, at + size),
  }
end

local function id_of_held(held)
  local state, _, size, at = struct.unpack(HELD, held)
  return STATES[state], string.sub(held, at, at + size - 1)
end

local function held_text(state, sequence, id, key)
  return struct.pack(HELD, STATE_CODES[state], sequence, #id) .. id .. key
end

local function free(q, lease)
  if lease.state ~= 'finished' then q.leased = q.leased - 1 end
end
