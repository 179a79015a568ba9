-- data: what is noted about nodes, for whoever looks at them.
--
-- NEEDS  names
-- KEYS   none
-- ARGV   none
-- GIVES  data_of(base, name)    a list of name, JSON, name, JSON...; nil if it cannot
--                               be read
--
-- A record has them joined by "\31", which neither has.
local function data_of(base, name)
  local record, data = redis.call('HGET', base .. 'data', name), {}
  if not record then return data end
  for text in string.gmatch(record, '[^\31]+') do data[#data + 1] = text end
  return #data % 2 == 0 and data or nil
end
