-- wrk: add one piece of one of 5 products to one of CARTS carts, in turn; RATE adds a second, or all it can.
local path = os.getenv("BENCH_PATH") or "/v1/carts/user:bench-%d/items"
local carts = tonumber(os.getenv("BENCH_CARTS") or "4000")
local rate = tonumber(os.getenv("BENCH_RATE") or "0")
local requests, at = {}, 0

function init(args)
  for i = 1, carts do
    local body = string.format(
      '{"product_id":"sku-%d","quantity":1,"unit_price":1999,"currency":"EUR"}', i % 5)
    requests[i] = wrk.format("POST", string.format(path, i), {["Content-Type"] = "application/json"}, body)
  end
end

function request()
  at = at % carts + 1
  return requests[at]
end

if rate > 0 then
  local ffi = require("ffi")
  ffi.cdef("struct timeval { long sec; long usec; }; int gettimeofday(struct timeval *now, void *zone);")
  local now, due = ffi.new("struct timeval"), nil

  -- Milliseconds until a connection sends again: the adds are due one by one, whichever connection is free.
  function delay()
    ffi.C.gettimeofday(now, nil)
    local ms = tonumber(now.sec) * 1e3 + tonumber(now.usec) / 1e3
    due = (due or ms) + 1e3 / rate
    return math.max(0, math.floor(due - ms))
  end
end

function done(summary, latency)
  io.write(string.format(
    'BENCH {"requests":%d,"seconds":%.6f,"non_2xx":%d,"socket_errors":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
