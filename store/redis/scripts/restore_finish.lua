#!lua
-- Declare a partition complete, if the restoration is still the one running. Asking twice does no harm.
--
-- KEYS  1 restore  2 ready  3 followed  4 wish  5 events
-- ARGV  1 token  2 sequence  3 follow position
-- Returns 1: the partition is ready, 0: the restoration was lost

if redis.call('GET', KEYS[2]) == ARGV[1] then return 1 end
local running = redis.call('HMGET', KEYS[1], 'token', 'sequence')
if running[1] ~= ARGV[1] or running[2] ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1], KEYS[4])
redis.call('SPUBLISH', KEYS[5], '*')
return 1
