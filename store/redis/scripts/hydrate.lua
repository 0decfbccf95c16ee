#!lua
-- Bring in a cart found elsewhere, if it is absent and the partition is ready.
--
-- KEYS  1 cart  2 ops  3 win  4 ready  5 events
-- ARGV  1 idle limit (s)  2 a copy older than this (us) counts as absent, an expired one sooner by the idle limit,
--         0: none  3 the copy, MessagePack
-- Returns 1: brought in, 0: not

--@include write_copy

if redis.call('EXISTS', KEYS[4]) == 0 then return 0 end
local head = redis.call('HGET', KEYS[1], 'm')
if head then
  if ARGV[2] == '0' then return 0 end
  local time = redis.call('TIME')
  local horizon = ARGV[2] - (string.find(head, ' expired %S+$') and ARGV[1] * 1000000 or 0)
  if tonumber(string.match(head, '^%d+')) >= 2 * (time[1] * 1000000 + time[2] - horizon) then return 0 end
end
local copy = cmsgpack.unpack(ARGV[3])
write_copy(KEYS[1], KEYS[2], KEYS[3], copy, ARGV[1])
redis.call('SPUBLISH', KEYS[5], copy[1] .. ' ' .. copy[2])
return 1
