-- passing: what is chosen and cannot be served.
--
-- NEEDS  returns, choosing
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  put_way(q, key, level, has_more)  the nodes of the way back where they have
--                                 work; has_more: whether the leaf may have
--        put_first(q, key, level, id, sequence)  its first entry back
--        bury_first(q, key, level, id, now, limit)  an entry that cannot be read to the
--                                 dead letters
local function put_way(q, key, level, has_more)
  has_more = has_more and redis.call('EXISTS', ready_of(q, level, key)) == 1
  for at = q.depth, 1, -1 do
    local node, race = q.way[at], q.way_races[at]
    if has_more then put(race, node, stand_of(node, level)) end
    has_more = at > 1 and (has_more or not is_empty(race))
  end
end

local function put_first(q, key, level, id, sequence)
  redis.call('ZADD', ready_of(q, level, key), sequence, id)
end

local function bury_first(q, key, level, id, now, limit)
  count_waiting(q, q.way[q.depth].name, level, -1)
  bury(q, id, key, 0, 'unreadable record', now, limit)
end
