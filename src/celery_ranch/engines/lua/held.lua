-- held: tell what a worker holds.
--
-- NEEDS  leases
-- KEYS   queues     zset  names of the queues that ever held an entry
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        worker     str
-- GIVES  held lease...    of each lease three: queue, entry id, number
local reply = {'held'}
for _, name in ipairs(redis.call('ZRANGE', queues, 0, -1)) do
  local held = redis.pcall('HGETALL', held_of(names_of(base_of(queues, name)), worker))
  for i = 1, #held, 2 do
    local lease = lease_of(held[i + 1])
    if lease then
      reply[#reply + 1] = name
      reply[#reply + 1] = lease.id
      reply[#reply + 1] = held[i]
    end
  end
end
return reply
