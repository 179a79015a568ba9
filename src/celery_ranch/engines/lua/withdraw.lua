-- withdraw: take away what waits at a node and below it; from now on nothing is leased there.
--
-- NEEDS  withdrawals, room
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        lease_us   num   how long the helper has it, microseconds
--        key        str   the node
--        helper     str   who carries it out
--        kind       str   cancel, file or move (see withdrawals.lua)
--        to_queue   str   where to, if it is moved
--        to_key     str   the same; empty: each entry stays its own key's
-- GIVES  withdrawn number  of the withdrawal: what has a smaller one is its
--        nothing          nothing waits there; nothing changed
now = time_of(now)
make_room(base)
local q = open(base)
if not is_sound(q) or not are_withdrawals_sound(q) then return refusal(q) end
local node = node_of(q, key)
if not node.is_known or waiting_below(q, key) == 0 then return {'nothing'} end

local number = next_sequence(q)
begin_withdrawal(q, number, {
  'node', key, 'kind', kind, 'queue', to_queue, 'key', to_key, 'helper', helper,
  'token', helper .. '-' .. text(number),
}, now + lease_us)
redis.call('ZADD', rare(q, 'unswept'), number, text(number))
redis.call('ZADD', keys_of(q, number), 0, key)
redis.call('HINCRBY', rare(q, 'withdrawing'), key, 1)
block(q, node, WITHDRAWN)
save(q)
return {'withdrawn', number}
