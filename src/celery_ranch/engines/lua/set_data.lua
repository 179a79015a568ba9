-- set_data: note something about a node.
--
-- NEEDS  data
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   key        str   the node
--        name       str   what is noted
--        value      str   JSON; empty: it is noted no longer
--        most       num   how many bytes all that is noted of a node may have
-- GIVES  noted            it is
--        full             it would be more than that; nothing changed
--
-- Its only write is one that Redis refuses when memory is full.
local data, bytes = {}, 0
local function note(its_name, its_value)
  data[#data + 1], data[#data + 2] = its_name, its_value
  bytes = bytes + #its_name + #its_value
end

local was = data_of(base, key) or {}
for at = 1, #was, 2 do
  if was[at] ~= name then note(was[at], was[at + 1]) end
end
if value ~= '' then
  note(name, value)
  if bytes > most then return {'full'} end
end
if #data > 0 then
  redis.call('HSET', base .. 'data', key, table.concat(data, '\31'))
else
  redis.call('HDEL', base .. 'data', key)
end
return {'noted'}
