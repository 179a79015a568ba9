-- watched: show the workers there are.
--
-- NEEDS  names
-- KEYS   queues     zset  names of the queues that ever held an entry
--        reporters  zset  worker -> when it reported last
-- ARGV   limit      num   how many to show
-- GIVES  workers more worker...   more: how many are not shown, at least; of each five:
--                         name, until when its leases are valid (-1: it has not leased),
--                         how many it holds, when it reported (-1: long ago), and what it
--                         said then
--
-- Looked at are so many workers of each of so many queues as `limit` says, all in all.
local names, order, more = {}, {}, 0

local function meet(name)
  if not names[name] then
    if #order == limit then return nil end
    names[name] = {name = name, till = -1, held = 0, reported = -1}
    order[#order + 1] = names[name]
  end
  return names[name]
end

local reports = redis.call('ZREVRANGE', reporters, 0, limit - 1, 'WITHSCORES')
for i = 1, #reports, 2 do meet(reports[i]).reported = tonumber(reports[i + 1]) end
more = redis.call('ZCARD', reporters) - #reports / 2

local budget = limit * 5
for _, queue in ipairs(redis.call('ZRANGE', queues, 0, limit - 1)) do
  local q = names_of(base_of(queues, queue))
  local workers = redis.call('ZREVRANGE', q.workers, 0, math.min(limit, budget) - 1, 'WITHSCORES')
  for i = 1, #workers, 2 do
    local worker = meet(workers[i])
    if worker then
      worker.till = math.max(worker.till, tonumber(workers[i + 1]))
      worker.held = worker.held + redis.call('HLEN', held_of(q, workers[i]))
    else
      more = more + 1
    end
  end
  budget = budget - #workers / 2
  if budget < 1 then break end
end

local reply = {'workers', more}
for _, worker in ipairs(order) do
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3] = worker.name, worker.till, worker.held
  reply[at + 4] = worker.reported
  reply[at + 5] = redis.call('GET', worker_of(queues, worker.name)) or ''
end
return reply
