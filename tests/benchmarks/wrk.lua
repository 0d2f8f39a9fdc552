-- Callbacks whose provider ids vary. Arguments: format, token, prefix, number of messages, first index.
-- The first pass over all messages says that the network has them, the second what became of them (one in twenty
-- failed); every further pass repeats the second.

local format, token, prefix, messages, index
local fmt, floor = string.format, math.floor

function init(args)
  format, token, prefix = args[1], args[2], args[3]
  messages, index = tonumber(args[4]), tonumber(args[5])
end

local function generic(id, pass, fails)
  local said = pass == 0 and '"sent"' or fails and '"failed","error_code":"BENCH-1"' or '"delivered"'
  local body = fmt('{"provider_message_id":"%s","status":%s,"occurred_at":"2026-03-04T10:15:42Z"}', id, said)
  return wrk.format("POST", wrk.path, { ["Content-Type"] = "application/json", ["X-Acuse-Token"] = token }, body)
end

local function kannel(id, pass, fails)
  local bits = pass == 0 and 32 or fails and 2 or 1
  local reply = fails and pass > 0 and "&reply=stat%3AUNDELIV+err%3A069" or ""
  return wrk.format("GET", fmt("%s?token=%s&type=%d&fid=%s&smsc=bench&ts=1772619342%s", wrk.path, token, bits, id, reply))
end

function request()
  local number = index % messages
  local pass = floor(index / messages)
  index = index + 1
  local make = format == "kannel" and kannel or generic
  return make(fmt("%s%07d", prefix, number), pass, number % 20 == 0)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(fmt(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
end
