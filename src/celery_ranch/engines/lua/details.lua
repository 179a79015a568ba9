-- details: show all that is remembered of one key.
--
-- NEEDS  showing, data
-- KEYS   base       str   what the queue's keys begin with
-- ARGV   tag_limit  num   virtual time at which tags are shifted down
--        key        str
-- GIVES  details key... by_hand data   the eight of showing.lua; its share, were there no
--                         weight function; a list of name, JSON, name, JSON...
local q = open(base)
local reply = {'details'}
show(q, reply, key, node_of(q, key))
reply[10] = string.format('%.17g', set_by_hand(q, key).share)
reply[11] = data_of(base, key) or {}
return reply
