#!lua flags=no-writes
-- Read a cart with its window, at one moment.
--
-- KEYS  1 cart  2 ops  3 ready
-- Returns {'restoring'}, or {'read', TIME, marker, head or nil, extras or nil, the fields and entries of ops}

local marker = redis.call('GET', KEYS[3])
if not marker then return {'restoring'} end
local found = redis.call('HMGET', KEYS[1], 'm', 'x')
return {'read', redis.call('TIME'), marker, found[1], found[2], redis.call('HGETALL', KEYS[2])}
