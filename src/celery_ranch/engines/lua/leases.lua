-- leases: what a worker holds of a queue, and the reports on it.
--
-- NEEDS  places
-- KEYS   none
-- ARGV   none
-- GIVES  lease_of(number, held)   the lease that the text of `held` tells of, or nil
--        held_text(lease)         the text again
--        free(q, lease)           count its slot as free, if it was taken
local function lease_of(number, held)
  if not held then return nil end
  local state, sequence, size, at = string.match(held, '^(%a+) (%d+) (%d+) ()')
  local key_at = at + tonumber(size)
  return {
    number = number, state = state, sequence = tonumber(sequence),
    id = string.sub(held, at, key_at - 1), key = string.sub(held, key_at),
  }
end

local function held_text(lease)
  return lease.state .. ' ' .. text(lease.sequence) .. ' ' .. text(#lease.id) .. ' '
    .. lease.id .. lease.key
end

local function free(q, lease)
  if lease.state ~= 'finished' then q.leased = q.leased - 1 end
end
