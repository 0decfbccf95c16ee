#!lua flags=no-writes
-- Read a cart with its window, at one moment.
--
-- KEYS  1 cart  2 ops  3 ready
-- Returns {'restoring'}, or {'read', TIME, head or nil, extras or nil, the fields and entries of ops}

if redis.call('EXISTS', KEYS[3]) == 0 then return {'restoring'} end
local found = redis.call('HMGET', KEYS[1], 'm', 'x')
return {'read', redis.call('TIME'), found[1], found[2], redis.call('HGETALL', KEYS[2])}
