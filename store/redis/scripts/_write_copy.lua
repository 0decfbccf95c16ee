local function in_chunks(command, key, values)
  for i = 1, #values, 1000 do redis.call(command, key, unpack(values, i, math.min(i + 999, #values))) end
end

-- Replace a cart by the copy of a state (store.redis.packing.pack_copy), or remove it if the copy has no fields.
local function write_copy(cart, ops, win, copy, idle_limit)
  redis.call('DEL', cart, ops, win)
  if #copy[4] == 0 then return end
  in_chunks('HSET', cart, copy[4])
  if #copy[5] > 0 then
    in_chunks('ZADD', win, copy[5])
    in_chunks('HSET', ops, copy[6])
  end
  redis.call('EXPIRE', cart, idle_limit)
  redis.call('EXPIRE', ops, idle_limit)
  redis.call('EXPIRE', win, idle_limit)
end
