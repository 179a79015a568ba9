-- moments: when what is stored is due and expires.
--
-- NEEDS  places
-- LATER
-- KEYS   none
-- ARGV   now        num   microseconds
--        entry...   str   as those of enqueue
-- GIVES  moment(when)            microseconds; nil if there is none
--        delayed_place(q, at)    where the entry stands whose arguments begin there; nil
--                                if it is due
--        timed_value(at, place)  its value, if it stands there
local function moment(when)
  if when == '-' then return nil end
  local amount = tonumber(string.sub(when, 2))
  if string.sub(when, 1, 1) == '+' then return now + amount end
  return amount
end

local function delayed_place(q, at)
  local due = moment(ARGV[at + 4])
  if not due or due <= now then return nil end
  return flag_of(q.sequence, 'n', tonumber(ARGV[at + 3]) % 16)
end

local function timed_value(at, place)
  local expires, since = moment(ARGV[at + 5]), place and moment(ARGV[at + 4]) or now
  return entry_of(0, expires and text(expires) or '-', place or '-',
    text(since) .. ' ' .. ARGV[at + 6])
end
