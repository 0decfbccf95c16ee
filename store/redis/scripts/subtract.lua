#!lua flags=allow-oom
-- Replace a cart by its copy after an operation of an order or a merge, and put the event into the outbox; only
-- if the cart is still what that copy was made from.
--
-- KEYS  1 cart  2 ops  3 win  4 outbox  5 backlog  6 ready  7 events  8 unfolded
-- ARGV  1 op_id  2 cart_id  3 the head that was read, empty: there was no cart
--       4 until when (us) the operation may take its place: its v is as old as the reading
--       5 the copy, MessagePack (store.redis.packing)  6 the event  7 bytes of the outbox  8 idle limit (s)
--       9 empty, or of a cart that was absent: the absence after which no row was found (_row_counts.lua)
-- Returns {'applied', outbox id, age of the oldest outbox entry (us), cart fields}
--         {'refused', reason}: `moved`: read again, `restoring`, `outbox_full`

--@include write_copy
--@include row_counts

local call = redis.call
local partition = call('MGET', KEYS[6], KEYS[5])
if not partition[1] then return {'refused', 'restoring'} end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[4]) or (call('HGET', KEYS[1], 'm') or '') ~= ARGV[3] then return {'refused', 'moved'} end
if ARGV[9] ~= '' and not row_counts(partition[1], ARGV[9], now) then return {'refused', 'moved'} end
local bytes, oldest = string.match(partition[2] or '0 0', '^(%d+) (%d+)$')
local event_bytes = #ARGV[1] + #ARGV[2] + #ARGV[6]
if bytes + event_bytes > tonumber(ARGV[7]) then return {'refused', 'outbox_full'} end
local copy = cmsgpack.unpack(ARGV[5])

-- Writes: the outbox first, as in change.lua; what is in it will be in the cart whatever happens here.

local outbox_id = call('XADD', KEYS[4], '*', 'op', ARGV[1], 'cart', ARGV[2], 'e', ARGV[6])
if bytes == '0' then oldest = string.match(outbox_id, '^%d+') end
call('SET', KEYS[5], string.format('%.0f %s', bytes + event_bytes, oldest))
call('ZADD', KEYS[8], 'NX', string.match(copy[2], '^%d+'), ARGV[2])
write_copy(KEYS[1], KEYS[2], KEYS[3], copy, ARGV[8])
call('HSET', KEYS[2], ARGV[1], call('HGET', KEYS[2], ARGV[1]) .. '\n' .. outbox_id)
call('SPUBLISH', KEYS[7], ARGV[2] .. ' ' .. copy[2])
return {'applied', outbox_id, math.max(0, now - 1000 * oldest), call('HGETALL', KEYS[1])}
