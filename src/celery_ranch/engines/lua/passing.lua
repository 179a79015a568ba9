-- passing: what is chosen and cannot be served.
--
-- NEEDS  returns, choosing
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  put_all_back(q, key, level, id, sequence)  the nodes of the way and the entry
--        pass_over(q, key, level, id, state, now, limit)  the nodes, where they have work;
--                                 an entry that cannot be read to the dead letters
local function put_way(q, key, level, has_more)
  has_more = has_more and redis.call('EXISTS', ready_of(q, level, key)) == 1
  for at = q.depth, 1, -1 do
    local node, race = q.way[at], q.way_races[at]
    if has_more then put(race, node, stand_of(node, level)) end
    has_more = at > 1 and (has_more or not is_empty(race))
  end
end

local function put_all_back(q, key, level, id, sequence)
  if id then redis.call('ZADD', ready_of(q, level, key), sequence, id) end
  put_way(q, key, level, id)
end

local function pass_over(q, key, level, id, state, now, limit)
  if state == 'unreadable' then
    count_waiting(q, q.way[q.depth].name, level, -1)
    bury(q, id, key, 0, 'unreadable record', now, limit)
  end
  put_way(q, key, level, id)
  if state == 'expired' and q.version > 0 then judge_all(q, key, now) end
end
