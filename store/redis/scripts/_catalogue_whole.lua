-- Whether all of the cache's keys are of the generation that `facts` names: a part alone may have been deleted.
local function generation_if_whole()
  local generation = redis.call('HGET', KEYS[1], '!generation')
  if generation and redis.call('HGET', KEYS[2], '!generation') == generation
    and redis.call('HGET', KEYS[3], '!generation') == generation
    and redis.call('ZSCORE', KEYS[4], '!') and redis.call('ZSCORE', KEYS[5], '!') then
    return generation
  end
end
