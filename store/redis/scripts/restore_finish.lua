#!lua flags=allow-oom
-- Declare a partition ready, if the restoration is still the one running. Asking twice does no harm.
--
-- KEYS  1 restore  2 ready  3 followed  4 wish  5 events  6 cold
-- ARGV  1 token  2 sequence  3 follow position  4 how far the rows were, 0: all of `carts` was put
--       5 id of the topic  6 `1`: only a tail was put, what is before the follow position is cold
-- Returns 1: the partition is ready, 0: the restoration was lost

local marker = redis.call('GET', KEYS[2])
if marker and string.match(marker, '^%S+') == ARGV[1] then return 1 end
local running = redis.call('HMGET', KEYS[1], 'token', 'sequence')
if running[1] ~= ARGV[1] or running[2] ~= ARGV[2] then return 0 end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('SET', KEYS[2], table.concat({ARGV[1], ARGV[4], now, ARGV[5]}, ' '))
redis.call('SET', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1], KEYS[4], KEYS[6])
if ARGV[6] == '1' then redis.call('SET', KEYS[6], ARGV[3]) end
redis.call('SPUBLISH', KEYS[5], '*')
return 1
