#!lua
-- Put a batch of one partition of `products` into the cache, each product if its version is newer, and move on.
--
-- KEYS  1 facts  2 documents  3 texts  4 ids  5 words; words and categories have keys of their own beside them
-- ARGV  1 generation  2 partition  3 the position expected, empty: none  4 the new one
--       5 `end` if the partition has been followed to its end  6 partitions
--       7 `1`: Redis is full; products are only replaced, by what is about as large
--       8.. five for each product: id, version, facts (empty: deleted), document, text (empty: not listed)
-- Returns {'put', applied, unchanged}; {'lost'}; {'moved', position or nil}
--         {'full'}: a product takes more memory; nothing is put, and it is noted since when (us) that is so
--         {'regressed', id, version, document or '' ...}: what the cache has newer than the batch's last word on
--         it; the products are put, the position has not moved

--@include catalogue_whole

local FACTS, DOCUMENTS, TEXTS, IDS, WORDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PREFIX = string.sub(FACTS, 1, -string.len('facts') - 1)

if generation_if_whole() ~= ARGV[1] then return {'lost'} end
local place = '!position:' .. ARGV[2]
local position = redis.call('HGET', FACTS, place)
if (position or '') ~= ARGV[3] then return {'moved', position} end

-- What is newer: decided first, product by product in their order.
local ids, known = {}, {}
for i = 8, #ARGV, 5 do
  if known[ARGV[i]] == nil then
    ids[#ids + 1] = ARGV[i]
    known[ARGV[i]] = false
  end
end
local function fields_of(hash)
  local found = {}
  if #ids > 0 then
    for n, value in ipairs(redis.call('HMGET', hash, unpack(ids))) do found[ids[n]] = value end
  end
  return found
end
known = fields_of(FACTS)
local latest, older, applied, unchanged = {}, {}, 0, 0
for i = 8, #ARGV, 5 do
  local id, version, deleted = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2] == ''
  local before = known[id] and tonumber(string.match(known[id], '^%d+')) or 0
  older[id] = version < before or nil
  -- Of a product and its deletion with one version, the deletion stands: in whichever order they come.
  if version > before or (version == before and deleted and string.find(known[id], ' ', 1, true)) then
    latest[id] = i
    known[id] = deleted and ARGV[i + 1] or ARGV[i + 2]
    applied = applied + 1
  elseif version == before then
    unchanged = unchanged + 1
  end
end

local texts = fields_of(TEXTS)
local standing = '!standing:' .. ARGV[2]
local LONGER = 64
for id, i in pairs(ARGV[7] == '1' and latest or {}) do
  local size = redis.call('HSTRLEN', DOCUMENTS, id)
  if ARGV[i + 2] ~= ''
    and (size == 0 or #ARGV[i + 3] > size + LONGER or #ARGV[i + 4] > #(texts[id] or '') + LONGER) then
    local time = redis.call('TIME')
    redis.call('HSETNX', FACTS, standing, string.format('%.0f', time[1] * 1000000 + time[2]))
    return {'full'}
  end
end

local function split(text)
  local category, words = string.match(text, '^([^\n]*)\n(.*)$')
  local set = {}
  for word in string.gmatch(words or '', '[^ ]+') do set[word] = true end
  return category or '', set
end

-- The products that come to each word and go from it: a call for each word of each product takes too long.
local coming, going = {}, {}
local function note(changes, words, others, id)
  for word in pairs(words) do
    if not others[word] then
      local members = changes[word] or {}
      changes[word] = members
      members[#members + 1] = id
    end
  end
end
for id, i in pairs(latest) do
  local before, text = texts[id] or '', ARGV[i + 4]
  if before ~= text then
    local old_category, old = split(before)
    local category, words = split(text)
    note(going, old, words, id)
    note(coming, words, old, id)
    if old_category ~= category then
      if old_category ~= '' then redis.call('ZREM', PREFIX .. 'category:' .. old_category, id) end
      if category ~= '' then redis.call('ZADD', PREFIX .. 'category:' .. category, 0, id) end
    end
    if text == '' then
      redis.call('ZREM', IDS, id)
      redis.call('HDEL', TEXTS, id)
    else
      redis.call('ZADD', IDS, 0, id)
      redis.call('HSET', TEXTS, id, text)
    end
  end
end
for word, members in pairs(going) do
  redis.call('SREM', PREFIX .. 'word:' .. word, unpack(members))
  if redis.call('EXISTS', PREFIX .. 'word:' .. word) == 0 then redis.call('ZREM', WORDS, word) end
end
for word, members in pairs(coming) do
  redis.call('SADD', PREFIX .. 'word:' .. word, unpack(members))
  redis.call('ZADD', WORDS, 0, word)
end

-- Last, for a script that fails midway keeps its earlier writes: the batch is put again then.
for id, i in pairs(latest) do
  if ARGV[i + 2] == '' then
    redis.call('HDEL', DOCUMENTS, id)
  else
    redis.call('HSET', DOCUMENTS, id, ARGV[i + 3])
  end
  redis.call('HSET', FACTS, id, known[id])
end
if next(older) then
  local answer = {'regressed'}
  for id in pairs(older) do
    answer[#answer + 1] = id
    answer[#answer + 1] = string.match(known[id], '^%d+')
    answer[#answer + 1] = redis.call('HGET', DOCUMENTS, id) or ''
  end
  return answer
end
redis.call('HSET', FACTS, place, ARGV[4])
redis.call('HDEL', FACTS, standing)
if ARGV[5] == 'end' and redis.call('HSETNX', FACTS, '!end:' .. ARGV[2], 1) == 1
  and redis.call('HINCRBY', FACTS, '!ends', 1) >= tonumber(ARGV[6]) then
  redis.call('HSET', FACTS, '!complete', ARGV[1])
end
return {'put', applied, unchanged}
