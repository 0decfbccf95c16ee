#!lua flags=allow-oom
-- Take entries out of the outbox. After a rollback an id may belong to another operation: that one stays.
--
-- KEYS  1 outbox  2 backlog
-- ARGV  entry id, op_id, entry id, op_id, ...
-- Returns how many were taken out

local removed, bytes = {}, 0
for i = 1, #ARGV, 2 do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if entry and entry[2][2] == ARGV[i + 1] then
    removed[#removed + 1] = ARGV[i]
    bytes = bytes + #entry[2][2] + #entry[2][4] + #entry[2][6]
  end
end
for i = 1, #removed, 1000 do redis.call('XDEL', KEYS[1], unpack(removed, i, math.min(i + 999, #removed))) end
if #removed > 0 then
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if first then
    local before = string.match(redis.call('GET', KEYS[2]) or '0', '^%d+')
    local oldest = string.match(first[1], '^%d+')
    redis.call('SET', KEYS[2], string.format('%.0f %s', math.max(1, before - bytes), oldest))
  else
    redis.call('DEL', KEYS[2])
  end
end
return #removed
