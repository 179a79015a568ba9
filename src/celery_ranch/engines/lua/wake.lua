-- wake: leave a token in each queue with something leasable or delayed.
--
-- NEEDS  timers
-- KEYS   base...    str   of each queue: what its keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
-- GIVES  awake            there is a token wherever one makes sense
make_room(KEYS[first_base])
for at = first_base, #KEYS do
  local q = open(KEYS[at])
  q.due_before = false
  wake(q)
end
return {'awake'}
