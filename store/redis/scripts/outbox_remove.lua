#!lua flags=allow-oom
-- Take entries out of the outbox. After a rollback an id may belong to another operation: that one stays.
--
-- KEYS  1 outbox  2 backlog
-- ARGV  entry id, op_id, entry id, op_id, ... in order of the ids
-- Returns how many were taken out

local call = redis.call
local removed, bytes, looked_at = {}, 0, {}

local function look_at(entries)
  for i = 1, #entries do
    local id, fields = entries[i][1], entries[i][2]
    looked_at[id] = fields
  end
end

-- Mostly the entries follow each other: one range has them all. Whichever it lacks is looked up by itself.
look_at(call('XRANGE', KEYS[1], ARGV[1], ARGV[#ARGV - 1], 'COUNT', #ARGV / 2))
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  if not looked_at[id] then look_at(call('XRANGE', KEYS[1], id, id)) end
  local fields = looked_at[id]
  if fields and fields[2] == ARGV[i + 1] then
    looked_at[id] = {}
    removed[#removed + 1] = id
    bytes = bytes + #fields[2] + #fields[4] + #fields[6] + #(fields[8] or '')
  end
end
if #removed == 0 then return 0 end

for i = 1, #removed, 1000 do call('XDEL', KEYS[1], unpack(removed, i, math.min(i + 999, #removed))) end
local first = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first then
  local before = string.match(call('GET', KEYS[2]) or '0', '^%d+')
  local oldest = string.match(first[1], '^%d+')
  call('SET', KEYS[2], string.format('%d %s', math.max(1, before - bytes), oldest))
else
  call('DEL', KEYS[2])
end
return #removed
