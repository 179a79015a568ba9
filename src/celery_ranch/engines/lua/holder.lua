-- holder: who has an entry that is leased.
--
-- NEEDS  leases, places
-- KEYS   none
-- ARGV   none
-- GIVES  find_holder(q, id, is_acknowledged, first)  the latest lease of an entry: worker,
--                         number and lease, nil if there is none; and from which
--                         worker on to look further, 0 if all were looked at

-- Some 5 ms of Redis' time.
local MOST_LEASES = 4000
local MOST_WORKERS = 500

local function find_holder(q, id, is_acknowledged, first)
  local worker, number, lease, seen = nil, 0, nil, 0
  local workers = redis.call('ZRANGE', q.workers, first, first + MOST_WORKERS - 1)
  for at, name in ipairs(workers) do
    local held = redis.pcall('HGETALL', held_of(q, name))
    for i = 1, #held, 2 do
      -- Its id is the same, and so most likely it is the one.
      if string.sub(held[i + 1], 23, 22 + #id) == id then
        local found = lease_of(held[i + 1])
        local is_it = found and found.id == id
          and (found.state == 'acknowledged') == is_acknowledged
        if is_it and tonumber(held[i]) > number then
          worker, number, lease = name, tonumber(held[i]), found
        end
      end
    end
    seen = seen + #held / 2
    if seen >= MOST_LEASES then return worker, number, lease, first + at end
  end
  return worker, number, lease, #workers == MOST_WORKERS and first + MOST_WORKERS or 0
end
