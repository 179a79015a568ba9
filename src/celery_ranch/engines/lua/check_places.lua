-- check_places: look whether what stands in a place belongs there.
--
-- NEEDS  checking, policies, data
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        place      str   ready, delayed, index, old_index, timers, dead, reasons, tags,
--                         tagged, data, withdrawals or aside
--        key        str   whose, if ready or delayed; the parent's, if an index; the
--                         withdrawal's number, if aside
--        level      num   at which, if ready or an index
--        cursor     str   0, or where the last reply ended
--        limit      num   about how many to look at
-- GIVES  checked cursor wrong...  of each thing found wrong three: kind, name, detail;
--                         the kind `long` names a withdrawal whose entries are to be
--                         looked at
local q = open(base)

local function check_delayed_timer(member, due)
  local its_key = string.sub(member, 17)
  local first = first_delayed(q, its_key)
  local is_first = first[1] and string.sub(first[1], 1, 16) == string.sub(member, 1, 16)
  if not is_first or tonumber(first[2]) ~= due then found('stray timer', its_key) end
end

local function check_timer(member, due)
  if string.byte(member, 17) ~= 31 then return check_delayed_timer(member, due) end
  local name = string.sub(member, 18)
  local limits = node_of(q, name).limits
  local is_its_timer = limits and limits.due == due
    and padded(limits.timer) == string.sub(member, 1, 16)
  if not is_its_timer then found('stray timer', name) end
end

local function index_at(more)
  local race = race_of(q, level, key)
  local epoch = race.epoch + more
  return index_of(race, epoch), function(member) check_child(q, race, epoch, member) end
end

local places = {}
function places.ready()
  return ready_of(q, level, key), function(id) check_ready(q, key, id) end
end
function places.delayed()
  return delayed_of(q, key), function(member) check_delayed(q, key, member) end
end
function places.index() return index_at(0) end
function places.old_index() return index_at(-1) end
function places.timers()
  return q.timers, function(member, due) check_timer(member, tonumber(due)) end
end
function places.dead()
  return rare(q, 'dead'), function(id)
    if redis.call('HEXISTS', q.entries, id) == 0 then found('no entry', id, 'dead letters') end
    if redis.call('HEXISTS', rare(q, 'reasons'), id) == 0 then found('no reason', id) end
  end
end
function places.reasons()
  return rare(q, 'reasons'), function(id)
    if not redis.call('ZSCORE', rare(q, 'dead'), id) then found('stray reason', id) end
  end
end
function places.withdrawals()
  return rare(q, 'withdrawals'), function(number) found('long', number) end
end
function places.aside()
  return aside_of(q, tonumber(key)), function(id)
    if redis.call('HEXISTS', q.entries, id) == 0 then
      found('no entry', id, 'withdrawal ' .. key)
    end
  end
end

function places.tags()
  return rare(q, 'tags'), function(name, record)
    for tag in string.gmatch(record, '[^\31]+') do
      if not redis.call('ZSCORE', rare(q, 'tagged'), tagged_member(tag, name)) then
        found('wrong tag', name, tag)
      end
    end
  end
end
function places.tagged()
  return rare(q, 'tagged'), function(member)
    local tag, name = string.match(member, '^([^\31]*)\31(.*)$')
    for _, its_tag in ipairs(tag and tags_of(q, name) or {}) do
      if its_tag == tag then return end
    end
    found('wrong tag', name or '', tag or member)
  end
end
function places.data()
  return rare(q, 'data'), function(name)
    if not data_of(base, name) then found('unreadable', name, 'data of') end
  end
end

local is_hash = {reasons = true, tags = true, data = true}
local name, check = places[place]()
local scan = redis.call(is_hash[place] and 'HSCAN' or 'ZSCAN', name, cursor, 'COUNT', limit)
reply[2] = scan[1]
for i = 1, #scan[2], 2 do check(scan[2][i], scan[2][i + 1]) end
return reply
