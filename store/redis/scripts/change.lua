#!lua
-- Apply one operation to a cart, or say why not. Every check comes before the first write.
--
-- KEYS  1 cart  2 ops  3 win  4 outbox  5 backlog  6 ready  7 events  8 unfolded
-- ARGV  1 cart_id
--       2 bounds, MessagePack: retry horizon (us), window (v units), idle limit (s), a copy older than this (us)
--         counts as absent, an expired one sooner by the idle limit, 0: none; bytes of the outbox; limits: lines,
--         tracked lines, quantity, content bytes, window entries, window bytes, ordered entries, ordered bytes,
--         subtotal
--       3 op_id
--       4 the operation's JSON from `,"op_id":` up to its steps
--       5 the event's JSON after `born`, the closing brace included
--       6 first seen (us)
--       7 If-Match tags between spaces, `*`, or nothing; a line feed; the same of If-None-Match; empty: neither
--       8 empty: an absent cart is refused; else the v of a copy of it found elsewhere that is too old to count,
--         0: there is none, and the absence after which that was found (_row_counts.lua)
--       9 `1`: return the cart
--      10 `1`: only tell whether the operation was applied before; refuse it if not
--         `2`: Redis is full; refuse what takes more memory, and whatever begins a cart
--      11 the traceparent of the request, or nothing: it waits in the outbox with the event
--      12.. eight for each step: kind, line id, quantity, unit price, currency, item JSON, metadata JSON, step JSON
--         (set_quantity: its JSON up to the quantity; unit price and currency may be empty; details: a line
--         `name\tJSON` for each in the place of the metadata, null removes; save: the same with a line id, and the
--         bound of the list in the place of the quantity)
-- Returns {'applied', v, event, outbox id, age of the oldest outbox entry (us), head, cart fields}
--         {'replayed', v, event, outbox id (both empty: not in the outbox), age, head, cart fields}
--         {'refused', reason, details...}; of an absent cart the partition's marker and the time (us)

--@include add_digest
--@include row_counts

-- Numbers are written by %d: they are whole, below 2^53, and %.0f takes several times as long.
local call, format, match = redis.call, string.format, string.match
local op_id = ARGV[3]
local retry_horizon, window, idle_limit, copy_horizon, max_outbox_bytes, max_lines, max_tracked, max_quantity,
  max_content_bytes, max_entries, max_window_bytes, max_ordered_entries, max_ordered_bytes, max_subtotal =
  unpack(cmsgpack.unpack(ARGV[2]))

local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local partition = call('MGET', KEYS[6], KEYS[5])
if not partition[1] then return {'refused', 'restoring'} end
local outbox_bytes, outbox_oldest = match(partition[2] or '0 0', '^(%d+) (%d+)$')
if now > ARGV[6] + retry_horizon then return {'refused', 'too_old'} end

local FIRST, WIDTH = 12, 8
local fields = {'m'}
for i = FIRST, #ARGV, WIDTH do
  if ARGV[i + 1] ~= '' then fields[#fields + 1] = 'l:' .. ARGV[i + 1] end
end
local found = call('HMGET', KEYS[1], unpack(fields))

local HEAD = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%a+) (%S+)$'
local head = found[1]
local prev, n, digest, floor, born, lines, tracked, bytes, subtotal, clr, entries, window_bytes, oldest, status, currency
if head then
  prev, n, digest, floor, born, lines, tracked, bytes, subtotal, clr, entries, window_bytes, oldest, status, currency =
    match(head, HEAD)
end
local horizon = copy_horizon - (status == 'expired' and idle_limit * 1000000 or 0)
local is_new = not head or copy_horizon ~= 0 and tonumber(prev) < 2 * (now - horizon)
local forgotten, absence = match(ARGV[8], '^(%d+) (.+)$')
local known_of = prev or forgotten
if is_new then
  if not absence or not row_counts(partition[1], absence, now) then
    return {'refused', 'unknown_cart', partition[1], format('%d', now)}
  end
  found = {}
  prev, n, digest, floor, born, lines, tracked, bytes, subtotal, clr = '0', 0, 0, 0, 0, 0, 0, 0, 0, '0'
  entries, window_bytes, oldest, status, currency = 0, 0, 0, 'active', '-'
end

local known = not is_new and call('HGET', KEYS[2], op_id)
if known then
  local v = match(known, '^{"v":(%d+)')
  local from = 6 + #v
  if string.sub(known, from, from + #ARGV[4]) ~= ARGV[4] .. '[' then return {'refused', 'key_reused'} end
  local outbox_id, event = match(known, '\n(.*)$') or '', ''
  local entry = outbox_id ~= '' and call('XRANGE', KEYS[4], outbox_id, outbox_id)[1]
  if entry and entry[2][2] == op_id and entry[2][4] == ARGV[1] then
    event = entry[2][6]
  else
    outbox_id = ''
  end
  local age = outbox_bytes == '0' and 0 or math.max(0, now - 1000 * outbox_oldest)
  return {'replayed', v, event, outbox_id, age, head, ARGV[9] == '1' and call('HGETALL', KEYS[1])}
end

if ARGV[10] == '1' then return {'refused', 'not_applied'} end

if ARGV[7] ~= '' then
  local tag = format('%s-%s-%012x', prev, n, digest)
  local function names(tags)
    return tags == '*' and prev ~= '0' or string.find(tags, ' ' .. tag .. ' ', 1, true)
  end
  local wanted, unwanted = match(ARGV[7], '^([^\n]*)\n(.*)$')
  if wanted ~= '' and not names(wanted) or unwanted ~= '' and names(unwanted) then
    return {'refused', 'precondition_failed', tag}
  end
end

if status ~= 'active' then
  local extras = call('HGET', KEYS[1], 'x')
  if status == 'merged' then return {'refused', 'merged', extras} end
  if extras and cjson.decode(extras)['claim'] then return {'refused', 'claimed', extras} end
end

-- Limits and application go together: nothing is written before the last step has been checked.

local v = 2 * math.max(math.floor(prev / 2) + 1, now)
local vs = format('%d', v)
local LINE = '^(%-?%d+) (%d+) (%d+) (%d+) ([^\n]*)\n(.*)$'
lines, tracked, bytes, subtotal = lines + 0, tracked + 0, bytes + 0, subtotal + 0

local packed = {} -- field -> packed line, false: absent
local touched = {} -- fields written, in order of their first step
for i = 2, #fields do packed[fields[i]] = found[i] or false end
local cleared = false
local metadata -- nil: not looked at, false: none, else its JSON
local details -- nil: not looked at, else a line `name\tJSON` for each, in the order of the names
local saved -- as details, with line ids
if is_new then metadata, details, saved = false, '', '' end

local function size(json)
  return json and json ~= '{}' and #json or 0
end

-- Lines `name\tJSON` with those of a step, each of which replaces the one that is there; and how many they are.
local function with_named(current, patch)
  local known, names = {}, {}
  for _, text in ipairs({current, patch}) do
    for name, json in string.gmatch(text, '([^\t\n]+)\t([^\n]*)\n') do
      if known[name] == nil then names[#names + 1] = name end
      known[name] = json ~= 'null' and json
    end
  end
  table.sort(names)
  local named = {}
  for _, name in ipairs(names) do
    if known[name] then named[#named + 1] = name .. '\t' .. known[name] .. '\n' end
  end
  return table.concat(named), #named
end

-- What a full Redis takes is no larger than the cart was, but for some digits: of a removed line its versions stay.
local LONGER = 40
local lines_before, tracked_before, most_bytes, is_raised = lines, tracked, bytes, false

local function decide(field, old, old_quantity, old_price, new, new_quantity, new_price)
  if old then most_bytes = most_bytes + LONGER end
  if new_quantity > old_quantity then is_raised = true end
  packed[field] = new
  touched[field] = true
  bytes = bytes + #new - (old and #old or -#field)
  if not old then tracked = tracked + 1 end
  if old_quantity > 0 then
    lines = lines - 1
    subtotal = subtotal - old_quantity * old_price
  end
  if new_quantity > 0 then
    lines = lines + 1
    subtotal = subtotal + new_quantity * new_price
  end
end

local delta = {}
for i = FIRST, #ARGV, WIDTH do
  local kind, step, json = ARGV[i], (i - FIRST) / WIDTH, ARGV[i + 7]
  local field = 'l:' .. ARGV[i + 1]
  local old = packed[field]
  local quantity, dv, place, price, item, meta = 0, clr, '0', '0', nil, '{}'
  if old then
    quantity, dv, place, price, item, meta = match(old, LINE)
    quantity = quantity + 0
  end
  if kind == 'add' or kind == 'set' or kind == 'set_quantity' then
    local new_price, new_currency, new_item, new_meta = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
    if kind == 'set_quantity' then
      if quantity <= 0 then return {'refused', 'line_not_found', step} end
      if new_price == '' then new_price = price end
      if new_currency == '' then new_currency = currency end
      new_item = item
    end
    -- A set decides its line: the only one of a cart may change its currency.
    local others = lines - (kind ~= 'add' and quantity > 0 and 1 or 0)
    if new_currency ~= currency and currency ~= '-' and others > 0 then
      return {'refused', 'currency', step, currency}
    end
    local new_quantity = ARGV[i + 2] + 0
    if kind == 'set_quantity' then
      json = json .. ',"unit_price":' .. new_price .. ',"currency":"' .. new_currency .. '","item":' .. new_item
        .. (new_meta ~= '' and ',"metadata":' .. new_meta or '') .. '}'
    end
    if kind == 'add' then
      new_quantity = new_quantity + quantity
    else
      dv = vs
    end
    if new_quantity > max_quantity then return {'refused', 'limit', 'quantity', step, max_quantity} end
    if quantity <= 0 then place = vs .. format('%02d', step) end
    if new_meta ~= '' then meta = new_meta end
    decide(field, old, quantity, price,
      format('%d', new_quantity) .. ' ' .. dv .. ' ' .. place .. ' ' .. new_price .. ' ' .. new_item .. '\n' .. meta,
      new_quantity, new_price)
    currency = new_currency
  elseif kind == 'remove' then
    decide(field, old, quantity, price,
      '0 ' .. vs .. ' ' .. vs .. '00 ' .. price .. ' ' .. (item or ARGV[i + 5]) .. '\n{}', 0, 0)
  elseif kind == 'clear' then
    packed, touched, cleared = {}, {}, true
    if metadata == nil then metadata = call('HGET', KEYS[1], 'metadata') end
    if details == nil then details = call('HGET', KEYS[1], 'details') or '' end
    if saved == nil then saved = call('HGET', KEYS[1], 'saved') or '' end
    lines, tracked, bytes, subtotal, clr, currency = 0, 0, size(metadata) + #details + #saved, 0, vs, '-'
  elseif kind == 'details' then
    if details == nil then details = call('HGET', KEYS[1], 'details') or '' end
    bytes = bytes - #details
    details = with_named(details, ARGV[i + 6])
    bytes = bytes + #details
  elseif kind == 'save' then
    if saved == nil then saved = call('HGET', KEYS[1], 'saved') or '' end
    bytes = bytes - #saved
    local count
    saved, count = with_named(saved, ARGV[i + 6])
    bytes = bytes + #saved
    if count > tonumber(ARGV[i + 2]) then return {'refused', 'limit', 'saved_lines', step, ARGV[i + 2]} end
  elseif ARGV[i + 1] ~= '' then
    if quantity <= 0 then return {'refused', 'line_not_found', step} end
    decide(field, old, quantity, price,
      format('%d', quantity) .. ' ' .. dv .. ' ' .. place .. ' ' .. price .. ' ' .. item .. '\n' .. ARGV[i + 6],
      quantity, price)
  else
    if metadata == nil then metadata = call('HGET', KEYS[1], 'metadata') end
    bytes = bytes + size(ARGV[i + 6]) - size(metadata)
    metadata = ARGV[i + 6]
  end
  if lines > max_lines then return {'refused', 'limit', 'lines', step, max_lines} end
  if tracked > max_tracked then return {'refused', 'limit', 'tracked_lines', step, max_tracked} end
  if bytes > max_content_bytes then return {'refused', 'limit', 'content_bytes', step, max_content_bytes} end
  if subtotal > max_subtotal then return {'refused', 'limit', 'subtotal', step, max_subtotal} end
  delta[#delta + 1] = json
end

if ARGV[10] == '2'
  and (is_new or is_raised or lines > lines_before or tracked > tracked_before or bytes > most_bytes) then
  return {'refused', 'storage_full'}
end

-- The window as it will be: entries older than W leave it.

local body = vs .. ARGV[4] .. '[' .. table.concat(delta, ',') .. ']'
local entry = '{"v":' .. body .. '}'
local cut = v - window
local leaving = {}
entries, window_bytes = entries + 1, window_bytes + #entry
if entries == 1 then
  oldest = vs
elseif tonumber(oldest) < cut then
  leaving = call('ZRANGEBYSCORE', KEYS[3], '-inf', format('(%d', cut))
  for i = 1, #leaving do
    local old = call('HGET', KEYS[2], leaving[i])
    if old then window_bytes = window_bytes - (string.find(old, '\n', 1, true) or #old + 1) + 1 end
  end
  entries = entries - #leaving
  local staying = call('ZRANGEBYSCORE', KEYS[3], format('%d', cut), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  oldest = staying[2] and format('%d', staying[2]) or vs
end
-- What the newest order has closed over makes room: the limits count what has come since; in all there is more.
local function has_room()
  if entries > max_entries + max_ordered_entries or window_bytes > max_window_bytes + max_ordered_bytes then
    return false
  end
  local count, bytes_since, ids = 1, #entry, call('ZREVRANGE', KEYS[3], 0, -1)
  for _, id in ipairs(ids) do
    if match(id, '^o_%x+$') and #id == 34 then return true end
    local old = call('HGET', KEYS[2], id)
    count = count + 1
    if old then bytes_since = bytes_since + (string.find(old, '\n', 1, true) or #old + 1) - 1 end
    if count > max_entries or bytes_since > max_window_bytes then return false end
  end
  return false
end

if entries > max_entries or window_bytes > max_window_bytes then
  -- What is larger than the whole window never fits, however long somebody waits.
  if #entry > max_window_bytes then return {'refused', 'limit', 'window_bytes', #delta - 1, max_window_bytes} end
  if not has_room() then return {'refused', 'window_full', math.max(0, (oldest + window) / 2 - now)} end
end

n = n + 1
if born == 0 or born == '0' then born = vs end
local event = '{"cart_id":"' .. ARGV[1] .. '","v":' .. body .. ',"prev":' .. known_of .. ',"born":' .. born .. ARGV[5]
local event_bytes = #op_id + #ARGV[1] + #event + #ARGV[11]
if outbox_bytes + event_bytes > max_outbox_bytes then return {'refused', 'outbox_full'} end
digest = add_digest(digest, vs, op_id)
floor = math.max(floor + 0, cut - 1)

-- Writes.

if is_new then call('DEL', KEYS[1], KEYS[2], KEYS[3]) end
local outbox_id
if ARGV[11] == '' then
  outbox_id = call('XADD', KEYS[4], '*', 'op', op_id, 'cart', ARGV[1], 'e', event)
else
  outbox_id = call('XADD', KEYS[4], '*', 'op', op_id, 'cart', ARGV[1], 'e', event, 't', ARGV[11])
end
if outbox_bytes == '0' then outbox_oldest = match(outbox_id, '^%d+') end
call('SET', KEYS[5], format('%d %s', outbox_bytes + event_bytes, outbox_oldest))
call('ZADD', KEYS[8], 'NX', vs, ARGV[1])
call('HSET', KEYS[2], op_id, entry .. '\n' .. outbox_id)
call('ZADD', KEYS[3], vs, op_id)
if #leaving > 0 then
  call('ZREMRANGEBYSCORE', KEYS[3], '-inf', format('(%d', cut))
  for i = 1, #leaving, 1000 do
    call('HDEL', KEYS[2], unpack(leaving, i, math.min(i + 999, #leaving)))
  end
end
head = format('%s %d %d %d %s %d %d %d %d %s %d %d %s active %s',
  vs, n, digest, floor, born, lines, tracked, bytes, subtotal, clr, entries, window_bytes, oldest, currency)
local writes = {'m', head}
if cleared then
  local extras = call('HGET', KEYS[1], 'x')
  call('DEL', KEYS[1])
  if extras then writes[3], writes[4] = 'x', extras end
end
if metadata == '{}' then
  call('HDEL', KEYS[1], 'metadata')
elseif metadata then
  writes[#writes + 1] = 'metadata'
  writes[#writes + 1] = metadata
end
for name, lines_of in pairs({details = details, saved = saved}) do
  if lines_of ~= '' then
    writes[#writes + 1] = name
    writes[#writes + 1] = lines_of
  elseif not is_new then
    call('HDEL', KEYS[1], name)
  end
end
for field in pairs(touched) do
  writes[#writes + 1] = field
  writes[#writes + 1] = packed[field]
end
call('HSET', KEYS[1], unpack(writes))

-- The time to live is renewed once in a 64th of it, not at every change; a window that was empty has none.
local period = idle_limit * 31250
if cleared or entries == 1 or math.floor(prev / period) ~= math.floor(v / period) then
  for i = 1, 3 do call('EXPIRE', KEYS[i], idle_limit) end
end
call('SPUBLISH', KEYS[7], ARGV[1] .. format(' %s-%d-%012x', vs, n, digest))
return {'applied', vs, event, outbox_id, math.max(0, now - 1000 * outbox_oldest), head, ARGV[9] == '1' and call('HGETALL', KEYS[1])}
