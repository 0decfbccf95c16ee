-- wrk: read one of CARTS carts, in turn.
local path = os.getenv("BENCH_PATH") or "/v1/carts/user:bench-%d"
local carts = tonumber(os.getenv("BENCH_CARTS") or "4000")
local requests, at = {}, 0

function init(args)
  for i = 1, carts do
    requests[i] = wrk.format("GET", string.format(path, i))
  end
end

function request()
  at = at % carts + 1
  return requests[at]
end

function done(summary, latency)
  io.write(string.format(
    'BENCH {"requests":%d,"seconds":%.6f,"non_2xx":%d,"socket_errors":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
