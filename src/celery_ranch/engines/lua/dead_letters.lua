-- dead_letters: show dead letters, the latest first.
--
-- NEEDS  names
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   offset     num   how many to pass over
--        limit      num   how many to show
-- GIVES  dead letter...   of each three: entry id, entry, when and why
local q = names_of(base)
local reply = {'dead'}
if limit < 1 then return reply end
for _, id in ipairs(redis.call('ZREVRANGE', rare(q, 'dead'), offset, offset + limit - 1)) do
  reply[#reply + 1] = id
  reply[#reply + 1] = redis.call('HGET', q.entries, id)
  reply[#reply + 1] = redis.call('HGET', rare(q, 'reasons'), id)
end
return reply
