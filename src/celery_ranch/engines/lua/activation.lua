-- activation: let entries wait whose time has come.
--
-- NEEDS  places
-- KEYS   none
-- ARGV   none
-- GIVES  activate(q, now, budget)  what is left of the budget, and the due time of the
--                                  first that is still delayed, if there is one
local function activate(q, now, budget)
  local first = redis.call('ZRANGE', q.timers, 0, 0, 'WITHSCORES')
  while first[1] and tonumber(first[2]) <= now and budget > 0 do
    local key = string.sub(first[1], 17)
    local head = first_delayed(q, key)
    if not head[1] or tonumber(head[2]) > now then
      -- A damaged timer: it would come first for ever.
      redis.call('ZREM', q.timers, first[1])
      set_timer(q, key, {})
    else
      redis.call('ZREM', delayed_of(q, key), head[1])
      set_timer(q, key, head)
      local sequence = tonumber(string.sub(head[1], 1, 16))
      if not sequence or string.sub(head[1], 17, 17) == 'n' then
        q.sequence = q.sequence + 1
        sequence = q.sequence
      end
      q.delayed = q.delayed - 1
      add_ready(q, key, sequence, string.sub(head[1], 18))
    end
    budget = budget - 1
    first = redis.call('ZRANGE', q.timers, 0, 0, 'WITHSCORES')
  end
  return budget, first[1] and tonumber(first[2])
end
