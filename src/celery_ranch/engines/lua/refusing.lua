-- refusing: batches that are not stored, and what they leave behind: nothing.
--
-- NEEDS  room, moments
-- LATER
-- KEYS   none
-- ARGV   number     str   as those of enqueue; and so the others
--        memory_ms  str
--        entry...   str
-- GIVES  first_full(opened)      the reply if a node has no room for the batch; else nil
--        repeated_or(published, reply)  that the publish was stored before, if it was;
--                                else the reply
--        take_back(published, last)  undo that the publish became the publisher's last,
--                                if it was stored before; what is replied then
--        drop(opened, is_taken)  entries that were just stored, but for those whose id
--                                was taken
local function queue_of_terms(opened, at)
  return opened[math.floor((tonumber(ARGV[at]) or timed_terms(at)) / 32)]
end

local function first_full(opened)
  for at = first_entry, #ARGV, 4 do
    local q, terms = queue_of_terms(opened, at), tonumber(ARGV[at]) or timed_terms(at)
    if q.version > 0 then
      local full, most = full_node(q, ARGV[at + 2], terms % 32 >= 16)
      if full then return {'full', full, most} end
    end
  end
  return nil
end

local function repeated_or(published, reply)
  if not published then return reply end
  local last = tonumber(redis.call('GET', published) or 0) or 0
  return tonumber(number) <= last and {'repeated'} or reply
end

local function take_back(published, last)
  if type(last) == 'table' then return last end
  redis.call('SET', published, last, 'PX', memory_ms)
  return {'repeated'}
end

local function drop(opened, is_taken)
  for at = first_entry, #ARGV, 4 do
    if not is_taken[at] then
      redis.call('HDEL', queue_of_terms(opened, at).entries, ARGV[at + 1])
    end
  end
end
