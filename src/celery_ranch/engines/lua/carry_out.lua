-- carry_out: bring a withdrawal a slice further.
--
-- NEEDS  taking
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   now        num   microseconds; negative: the server's clock
--        tag_limit  num   virtual time at which tags are shifted down
--        lease_us   num   how long the helper has it, microseconds
--        dead_limit num   how many dead letters a queue keeps
--        number     num   of the withdrawal
--        helper     str   who carries it out
--        limit      num   how many entries to take, or to show
--        done...    str   ids of those that were shown before and are dealt with
-- GIVES  sweeping taken   call again; taken: how many entries it has taken until now
--        aside taken kind queue key token entry...  of each entry three: id, number, entry
--        over taken       nothing is left of it
--        elsewhere        another helper has it, or it was over before
local MOST_BYTES = 1000000

now = time_of(now)
make_room(base)
local q = open(base)
if not is_sound(q) or not are_withdrawals_sound(q) then return refusal(q) end
local mine = withdrawal_of(q, number)
if not mine then
  -- Nobody is told of it again.
  end_withdrawal(q, number)
  redis.call('ZREM', rare(q, 'unswept'), text(number))
end
if not mine or not claim(q, mine, helper, now, now + lease_us) then return {'elsewhere'} end

local aside = aside_of(q, number)
for at = first_done, #ARGV do
  if redis.call('ZREM', aside, ARGV[at]) == 1 then redis.call('HDEL', q.entries, ARGV[at]) end
end

local first = first_unswept(q)
if first and first <= number then
  local one = first == number and mine or withdrawal_of(q, first)
  if one then
    sweep_slice(q, one, limit, now)
  else
    redis.call('ZREM', rare(q, 'unswept'), text(first))
  end
  begin_epochs(q)
  save(q)
  wake(q)
  local is_swept = first == number and mine.is_swept
  if not is_swept or redis.call('EXISTS', aside) == 1 then return {'sweeping', mine.taken} end
end

local found = redis.call('ZRANGE', aside, 0, limit - 1, 'WITHSCORES')
if #found == 0 then
  end_withdrawal(q, number)
  return {'over', mine.taken}
end

local reply = {'aside', mine.taken, mine.kind, mine.queue, mine.key, mine.token}
local bytes = 0
for i = 1, #found, 2 do
  local value = redis.call('HGET', q.entries, found[i]) or ''
  bytes = bytes + #value
  if i > 1 and bytes > MOST_BYTES then break end
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = value
end
return reply
