-- charging: what an entry costs its nodes.
--
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  charge(share, cost)        the same number as model.charge
--        rescaled(lead, old, new)   lead * new / old, rounded half up
local function charge(share, cost)
  if cost == 0 then return 0 end
  return math.max(1, math.floor(cost / share + 0.5))
end

-- In steps, because lead * new may lie beyond the exact integers.
local function rescaled(lead, old, new)
  local rest = lead % old
  local high, low = math.floor(new / 10000), new % 10000
  local above = (rest * high) % old * 10000 + rest * low
  local left = above % old
  return (lead - rest) / old * new
    + (rest * high - (rest * high) % old) / old * 10000
    + (above - left) / old
    + (left * 2 >= old and 1 or 0)
end
