#!lua
-- Replace each cart by a state if the state covers Redis's copy and (but for `copies`) differs; else say what it
-- does not cover.
--
-- KEYS  1 restore  2 followed  3 events  4 unfolded  5 expired  6.. cart, ops, win for each copy
-- ARGV  1 what it depends on: `copies`: only such as are there are replaced, at the same version, too
--         `restoration`: 2 token  3 sequence, which rises by one
--         `position`: 2 the follow position expected, empty: none  3 the new one
--       4 copies of expired carts may go once the rows have every record before this offset, empty: it is not noted
--       5 `1`: Redis is full; only copies that are there already are replaced
--       6.. for each copy its idle limit (s) and itself, MessagePack (store.redis.packing.pack_copy), or only its
--         version (pack_version)
-- Returns {'put', result...}: `stored`, `replaced`, `unchanged`, `removed`, `absent`, or {v, op_id, ...} not covered;
--           `needed`: only its version was given, and does not tell (carts.protocol.newer). The position stays then.
--         {'lost'}: another restoration, or none; {'moved', position or nil}; {'full'}: a copy would be new

--@include add_digest
--@include write_copy

if ARGV[1] == 'restoration' then
  local running = redis.call('HMGET', KEYS[1], 'token', 'sequence')
  if running[1] ~= ARGV[2] or running[2] ~= ARGV[3] then return {'lost'} end
elseif ARGV[1] == 'position' then
  local position = redis.call('GET', KEYS[2])
  if (position or '') ~= ARGV[2] then return {'moved', position} end
end

local copies = {}
for at = 6, #KEYS, 3 do
  local copy = cmsgpack.unpack(ARGV[6 + 2 * (at - 6) / 3 + 1])
  -- The copy of an expired cart leaves soon.
  if ARGV[5] == '1' and ARGV[1] ~= 'copies' and copy[3] and copy[8] ~= 'deleted' and copy[8] ~= 'expired'
    and redis.call('EXISTS', KEYS[at]) == 0 then
    return {'full'}
  end
  copies[at] = copy
end
if ARGV[1] == 'restoration' then redis.call('HINCRBY', KEYS[1], 'sequence', 1) end

-- Each of a copy's operations is in the state at its v or above, or at or below the state's floor, or it is of an
-- order or a merge that the state knows although its entry has left the window (carts.state.State.remembers).
local function uncovered(win, own_floor, copy)
  local missing = {}
  local window = redis.call('ZRANGE', win, 0, -1, 'WITHSCORES')
  local floor, known, remembered = tonumber(copy[3]), {}, {}
  if #window == 0 then -- of a trimmed copy its floor: a state of before that lacks what has left the window
    return floor < tonumber(own_floor) and {own_floor, ''} or missing
  end
  for i = 1, #copy[5], 2 do
    local op_id = string.match(copy[5][i + 1], '^[^\n]*')
    local v = tonumber(copy[5][i])
    if v > (known[op_id] or -1) then known[op_id] = v end
  end
  for i = 1, #copy[7] do remembered[copy[7][i]] = true end
  local function is_remembered(op_id)
    local number = string.match(op_id, '^!merge/(%d+)/') or string.match(op_id, '^!finish/(%d+)/')
    if number then return tonumber(number) <= copy[9] end
    return remembered[op_id]
  end
  for i = 1, #window, 2 do
    local op_id, v = string.match(window[i], '^[^\n]*'), tonumber(window[i + 1])
    if v > floor and (known[op_id] or -1) < v and (known[op_id] or not is_remembered(op_id)) then
      missing[#missing + 1] = string.format('%.0f', v)
      missing[#missing + 1] = op_id
    end
  end
  return missing
end

-- The operations of Redis's copy that a state lacks of which only the version is known; nil: it does not tell.
local function newer(win, n, digest, tag)
  local known_v, known_n, known_digest = string.match(tag, '^(%d+)-(%d+)-(%x+)$')
  local window = redis.call('ZRANGE', win, '(' .. known_v, '+inf', 'BYSCORE', 'WITHSCORES')
  if #window == 0 or #window / 2 ~= n - known_n then return nil end
  local missing, sum = {}, tonumber(known_digest, 16)
  for i = 1, #window, 2 do
    local op_id, v = string.match(window[i], '^[^\n]*'), string.format('%.0f', tonumber(window[i + 1]))
    if string.sub(op_id, 1, 1) == '!' then return nil end
    sum = add_digest(sum, v, op_id)
    missing[i], missing[i + 1] = v, op_id
  end
  return sum == tonumber(digest) and missing or nil
end

local NOTHING = {[3] = '-1', [5] = {}, [7] = {}, [9] = 0} -- a copy that covers no operation

local function put(cart, ops, win, copy, idle_limit)
  local head = redis.call('HGET', cart, 'm')
  -- Of an expired cart more is to be noted than that Redis has it.
  if not copy[3] and (not head or string.find(head, ' expired ', 1, true)) then return 'needed' end
  if not head then
    if copy[8] == 'deleted' then return 'unchanged' end
    if ARGV[1] == 'copies' then return 'absent' end
    write_copy(cart, ops, win, copy, idle_limit)
    return 'stored'
  end
  local v, n, digest, floor = string.match(head, '^(%d+) (%d+) (%d+) (%d+)')
  local is_same = copy[8] ~= 'deleted' and string.format('%s-%s-%012x', v, n, digest) == copy[2]
  if not copy[3] then return is_same and 'unchanged' or newer(win, n, digest, copy[2]) or 'needed' end
  local is_trimmed = #copy[5] == 0 and redis.call('EXISTS', win) == 1
  if is_same and not is_trimmed and ARGV[1] ~= 'copies' then return 'unchanged' end
  local missing = uncovered(win, floor, copy)
  if #missing > 0 then return missing end
  if copy[8] == 'deleted' then
    -- Of the same v, a copy with more operations knows one that came late: it is newer (carts.protocol.rank).
    local gone_v, gone_n = string.match(copy[2], '^(%d+)-(%d+)')
    if tonumber(v) > tonumber(gone_v) or v == gone_v and tonumber(n) > tonumber(gone_n) then
      missing = uncovered(win, floor, NOTHING)
      return #missing > 0 and missing or 'unchanged'
    end
    redis.call('DEL', cart, ops, win)
    return 'removed'
  end
  write_copy(cart, ops, win, copy, idle_limit)
  return 'replaced'
end

local results, is_needed = {'put'}, false
for at = 6, #KEYS, 3 do
  local copy = copies[at]
  local result = put(KEYS[at], KEYS[at + 1], KEYS[at + 2], copy, ARGV[6 + 2 * (at - 6) / 3])
  if result == 'needed' then
    is_needed = true
  elseif type(result) == 'table' then
    redis.call('ZADD', KEYS[4], 'XX', result[1], copy[1])
  elseif result ~= 'absent' then
    redis.call('ZREM', KEYS[4], copy[1])
    if copy[8] == 'expired' and ARGV[4] ~= '' then redis.call('ZADD', KEYS[5], ARGV[4], copy[1]) end
  end
  if result == 'stored' or result == 'replaced' or result == 'removed' then
    redis.call('SPUBLISH', KEYS[3], copy[1] .. ' ' .. copy[2])
  end
  results[#results + 1] = result
end
-- Last: a script that fails midway keeps its earlier writes, and must not have moved past the copies it did not put.
if ARGV[1] == 'position' and not is_needed then redis.call('SET', KEYS[2], ARGV[3]) end
return results
