-- check_entries: look whether entries are in exactly one place each.
--
-- NEEDS  checking
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many to look at
-- GIVES  checked cursor wrong...  of each thing found wrong three: kind, name, detail
local q = open(base)
local scan = redis.call('HSCAN', q.entries, cursor, 'COUNT', limit)
reply[2] = scan[1]

local leased = {}
each_lease(q, function(lease)
  if lease.state ~= 'acknowledged' then leased[lease.id] = (leased[lease.id] or 0) + 1 end
end)

local withdrawals = open_withdrawals(q)

local function places_of(id, key, level, place)
  local places = {}
  if redis.call('ZSCORE', ready_of(q, level, key), id) then places[1] = 'waiting' end
  if place ~= '-' and redis.call('ZSCORE', delayed_of(q, key), place .. id) then
    places[#places + 1] = 'delayed'
  end
  if #places > 0 and redis.call('HEXISTS', q.nodes, key) == 0 then found('unknown key', key) end
  if redis.call('ZSCORE', rare(q, 'dead'), id) then places[#places + 1] = 'dead' end
  for _, number in ipairs(withdrawals) do
    if redis.call('ZSCORE', aside_of(q, number), id) then places[#places + 1] = 'withdrawn' end
  end
  for _ = 1, leased[id] or 0 do places[#places + 1] = 'leased' end
  return places
end

for i = 1, #scan[2], 2 do
  local id = scan[2][i]
  local _, _, place, level, key = header_of(scan[2][i + 1])
  if not key then
    found('unreadable', id, 'entry')
  else
    local places = places_of(id, key, level, place)
    if #places == 0 then
      found('nowhere', id)
    elseif #places > 1 then
      found('several places', id, table.concat(places, ', '))
    end
  end
end
return reply
