#!lua
-- Put a batch of one partition of `products` into the cache, each product if its version is newer, and move on.
--
-- KEYS  1 facts  2 documents  3 texts  4 ids  5 words; the lists of words and categories lie beside them
-- ARGV  1 generation  2 partition  3 the position expected, empty: none  4 the new one
--       5 `end` if the partition has been followed to its end  6 partitions
--       7.. five for each product: id, version, facts (empty: deleted), document, text (empty: not listed)
-- Returns {'put', applied, unchanged}; {'lost'}; {'moved', position or nil}
--         {'regressed', id, version, document or '' ...}: what the cache has newer than the batch's last word on
--         it; the products are put, the position has not moved

--@include catalogue_whole

local FACTS, DOCUMENTS, TEXTS, IDS, WORDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PREFIX = string.match(FACTS, '^{.-}:')

if generation_if_whole() ~= ARGV[1] then return {'lost'} end
local place = '!position:' .. ARGV[2]
local position = redis.call('HGET', FACTS, place)
if (position or '') ~= ARGV[3] then return {'moved', position} end

local function split(text)
  local category, words = string.match(text, '^([^\n]*)\n(.*)$')
  local set = {}
  for word in string.gmatch(words or '', '[^ ]+') do set[word] = true end
  return category or '', set
end

local function index(id, text)
  local before = redis.call('HGET', TEXTS, id) or ''
  if before == text then return end
  local old_category, old = split(before)
  local category, words = split(text)
  for word in pairs(old) do
    if not words[word] then
      local list = PREFIX .. 'word:' .. word
      redis.call('ZREM', list, id)
      if redis.call('EXISTS', list) == 0 then redis.call('ZREM', WORDS, word) end
    end
  end
  for word in pairs(words) do
    if not old[word] then
      redis.call('ZADD', PREFIX .. 'word:' .. word, 0, id)
      redis.call('ZADD', WORDS, 0, word)
    end
  end
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

local function put(id, version, facts, document, text)
  local known = redis.call('HGET', FACTS, id)
  local before = known and tonumber(string.match(known, '^%d+')) or 0
  if tonumber(version) < before then return 'older' end
  if tonumber(version) == before then
    -- Of a product and its deletion with one version, the deletion stands: in whichever order they come.
    if facts ~= '' or not string.find(known, ' ', 1, true) then return 'unchanged' end
  end
  index(id, text)
  if facts == '' then
    redis.call('HSET', FACTS, id, version)
    redis.call('HDEL', DOCUMENTS, id)
  else
    redis.call('HSET', FACTS, id, facts)
    redis.call('HSET', DOCUMENTS, id, document)
  end
  return 'applied'
end

local counted, regressed = {applied = 0, unchanged = 0, older = 0}, {}
for i = 7, #ARGV, 5 do
  local outcome = put(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  counted[outcome] = counted[outcome] + 1
  regressed[ARGV[i]] = outcome == 'older' or nil
end
if next(regressed) then
  local answer = {'regressed'}
  for id in pairs(regressed) do
    answer[#answer + 1] = id
    answer[#answer + 1] = string.match(redis.call('HGET', FACTS, id), '^%d+')
    answer[#answer + 1] = redis.call('HGET', DOCUMENTS, id) or ''
  end
  return answer
end

-- Last: a script that fails midway keeps its earlier writes, and must not have moved past what it did not put.
redis.call('HSET', FACTS, place, ARGV[4])
if ARGV[5] == 'end' and redis.call('HSETNX', FACTS, '!end:' .. ARGV[2], 1) == 1
  and redis.call('HINCRBY', FACTS, '!ends', 1) >= tonumber(ARGV[6]) then
  redis.call('HSET', FACTS, '!complete', ARGV[1])
end
return {'put', counted.applied, counted.unchanged}
