-- sets: Redis' sets where something else may be instead.
--
-- NEEDS  names
-- LATER
-- KEYS   none
-- ARGV   none
-- GIVES  add(command, key, first, second)  one item for a key, whatever was there
--        size_of(set)            how many members; 0 where something else is
-- What is of another type there is not ours, and has no entries. Any other
-- refusal is the script's: an entry would be counted and stand nowhere.
local function add(command, key, first, second)
  local reply = redis.pcall(command, key, first, second)
  if type(reply) == 'number' then return end
  if is_mistyped(reply) then redis.call('DEL', key) end
  redis.call(command, key, first, second)
end

local function size_of(set)
  local size = redis.pcall('ZCARD', set)
  return type(size) == 'number' and size or 0
end
