#!lua flags=allow-oom
-- Drop the copy of an expired cart, if its row says the same by now (carts.protocol.expired_copy_may_go).
--
-- KEYS  1 cart  2 ops  3 win  4 expired  5 ready
-- ARGV  1 cart_id  2 the rows have every record of `carts` before this offset
--       3 idle limit (s), the time to live that a copy is put with  4 how long a copy stays at least (us)
--       5 the restoration on whose topic they have them
-- Returns 1: it is no expired copy any more, 0: it stays

local row_from = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not row_from then return 1 end
local head = redis.call('HGET', KEYS[1], 'm')
if head and string.find(head, ' expired %S+$') then
  local age = ARGV[3] * 1000000 - redis.call('PTTL', KEYS[1]) * 1000
  if tonumber(row_from) > tonumber(ARGV[2]) or age < tonumber(ARGV[4]) then return 0 end
  local restoration, position, rest = string.match(redis.call('GET', KEYS[5]) or '', '^(%S+) (%d+)( .*)$')
  if restoration ~= ARGV[5] then return 0 end
  if tonumber(row_from) > tonumber(position) then
    redis.call('SET', KEYS[5], restoration .. ' ' .. string.format('%.0f', row_from) .. rest)
  end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
end
redis.call('ZREM', KEYS[4], ARGV[1])
return 1
