#!lua flags=allow-oom
-- Close a partition for good: no change is made any more, and no restoration opens it, until it is opened again.
--
-- KEYS  1 restore  2 ready  3 events
-- ARGV  1 a token, which ends a restoration under way
-- Returns 1

redis.call('HSET', KEYS[1], 'token', ARGV[1], 'sequence', 0, 'closed', 1)
redis.call('DEL', KEYS[2])
redis.call('SPUBLISH', KEYS[3], '*')
return 1
