-- move_entry: let one entry that waits wait elsewhere.
--
-- NEEDS  filing
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        lease_us   num   how long the helper has it, microseconds
--        entry_id   str
--        helper     str   who carries it out
--        kind       str   file (within the queue) or move
--        to_queue   str   where to
--        to_key     str   the same; empty: it stays its own key's
-- GIVES  moved            it waits under the other key
--        withdrawn number  it is aside, until that withdrawal is carried out
--        same             it waits there already; nothing changed
--        elsewhere        no entry of that id waits, or its key is being withdrawn;
--                         nothing changed
now = time_of(now)
make_room(base)
local q = open(base)
if not is_sound(q) or not are_withdrawals_sound(q) then return refusal(q) end
local value = redis.call('HGET', q.entries, entry_id)
local _, _, place, level, key = header_of(value)
if not key or is_withdrawing(q, key) then return {'elsewhere'} end

local ready, delayed = ready_of(q, level, key), delayed_of(q, key)
local sequence = tonumber(redis.call('ZSCORE', ready, entry_id))
local at = not sequence and tonumber(redis.call('ZSCORE', delayed, place .. entry_id))
if not sequence and not at then return {'elsewhere'} end
if kind == 'file' and (to_key == '' or to_key == key) then return {'same'} end

local due
if sequence then
  redis.call('ZREM', ready, entry_id)
  drop_ready(q, key, level, 1)
else
  remove_delayed(q, key, place .. entry_id)
  sequence, due = tonumber(string.sub(place, 1, 16)), {at = at, flag = string.sub(place, 17, 17)}
end
begin_epochs(q)

local reply = {'moved'}
if kind == 'file' then
  file(q, entry_id, value, to_key, sequence, due, now)
else
  local number = next_sequence(q)
  begin_withdrawal(q, number, {
    'node', '', 'kind', kind, 'queue', to_queue, 'key', to_key, 'helper', helper,
    'token', helper .. '-' .. text(number),
  }, now + lease_us)
  remember(q, {number = number}, 'taken', '1')
  put_aside(q, number, entry_id, value, sequence, due)
  reply = {'withdrawn', number}
end
save(q)
wake(q)
return reply
