-- activation: let entries and nodes be eligible whose time has come.
--
-- NEEDS  due
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  activate(q, now, budget)  what is left of the budget
local function activate(q, now, budget)
  local due = first_due(q)
  while due and due <= now and budget > 0 do
    bring_due(q, now)
    budget = budget - 1
    due = first_due(q)
  end
  return budget
end
