-- The digest of a version with the operation at `v` in it (carts.state.add_digests); `v` in decimal digits.
local function add_digest(digest, v, op_id)
  return (digest + tonumber(string.sub(redis.sha1hex(v .. ':' .. op_id), 1, 12), 16)) % 281474976710656
end
