#!lua
-- Bring in a cart found elsewhere, if it is absent, the partition is ready, and what was found still counts.
--
-- KEYS  1 cart  2 ops  3 win  4 ready  5 events
-- ARGV  1 idle limit (s)  2 a copy older than this (us) counts as absent, an expired one sooner by the idle limit,
--         0: none  3 the copy, MessagePack  4 the absence after which it was found (_row_counts.lua)
-- Returns 1: brought in, 0: not

--@include write_copy
--@include row_counts

local marker = redis.call('GET', KEYS[4])
if not marker then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if not row_counts(marker, ARGV[4], now) then return 0 end
local head = redis.call('HGET', KEYS[1], 'm')
if head then
  if ARGV[2] == '0' then return 0 end
  local horizon = ARGV[2] - (string.find(head, ' expired %S+$') and ARGV[1] * 1000000 or 0)
  if tonumber(string.match(head, '^%d+')) >= 2 * (now - horizon) then return 0 end
end
local copy = cmsgpack.unpack(ARGV[3])
write_copy(KEYS[1], KEYS[2], KEYS[3], copy, ARGV[1])
redis.call('SPUBLISH', KEYS[5], copy[1] .. ' ' .. copy[2])
return 1
