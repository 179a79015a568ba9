-- moments: when what is stored is due and expires.
--
-- NEEDS  places
-- LATER
-- KEYS   none
-- ARGV   now        num   microseconds
--        entry...   str   as those of enqueue
-- GIVES  timed_terms(at)         a number, and when it is due and expires whose
--                                arguments begin there: microseconds, or nil
--        due_of(at)
--        delayed_place(q, at)    where it will stand if it is not due; else nil
--        timed_value(at, place)  its value, if it stands there
local function moment(when)
  if when == '-' then return nil end
  local amount = tonumber(string.sub(when, 2))
  if string.sub(when, 1, 1) == '+' then return now + amount end
  return amount
end

local function timed_terms(at)
  local terms, due, expires = string.match(ARGV[at], '^(%d+) (%S+) (%S+)$')
  return tonumber(terms), moment(due), moment(expires)
end

local function due_of(at)
  local _, due = timed_terms(at)
  return due
end

local function delayed_place(q, at)
  local terms, due = timed_terms(at)
  if not due or due <= now then return nil end
  return flag_of(q.sequence, 'n', terms % 16)
end

local function timed_value(at, place)
  local _, due, expires = timed_terms(at)
  return entry_of(0, expires and text(expires) or '-', place or '-',
    text(place and due or now) .. ' ' .. ARGV[at + 3])
end
