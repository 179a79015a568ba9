-- descent: whose turn it is below a child of the root.
--
-- NEEDS  tree
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  descend(q, level, node)  the rest of q.way, down to a leaf
-- Below a damaged node may be nobody.
local function descend(q, level, node)
  while node.children > 0 do
    local race = race_of(q, level, node.name)
    local member = first_of(race)
    if not member then return end
    node = node_of(q, string.sub(member, 18))
    q.depth = q.depth + 1
    q.way[q.depth], q.way_races[q.depth] = node, race
  end
end
