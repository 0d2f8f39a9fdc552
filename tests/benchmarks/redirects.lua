-- Visits to short URLs that vary. Arguments: file with one token a line, first index.
-- Seven in ten visitors are people on phones, two people at desks, one in ten a machine.

local tokens, agents, count, index = {}, {}, 0, 0
local fmt = string.format

local function person(agent)
  return fmt("Host: go.example\r\nUser-Agent: %s\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    .. "Accept-Language: es-ES,es;q=0.9,en;q=0.8\r\nAccept-Encoding: gzip, deflate\r\n\r\n", agent)
end

function init(args)
  for line in io.lines(args[1]) do
    count = count + 1
    tokens[count] = line
  end
  index = tonumber(args[2])
  local ios = "Mozilla/5.0 (iPhone; CPU iPhone OS %s like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%s Mobile/15E148 Safari/604.1"
  local android = "Mozilla/5.0 (Linux; Android %s; %s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%s.0.0.0 Mobile Safari/537.36"
  agents = {
    person(fmt(ios, "18_1", "18.1")), person(fmt(ios, "17_6_1", "17.6")), person(fmt(ios, "16_7", "16.6")),
    person(fmt(android, "14", "SM-S918B", "130")), person(fmt(android, "13", "Redmi Note 12", "129")),
    person(fmt(android, "10", "K", "131")), person(fmt(android, "15", "Pixel 8", "130")),
    person("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"),
    person("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0"),
    "Host: go.example\r\nUser-Agent: WhatsApp/2.23.20.0 A\r\nAccept: */*\r\n\r\n",
  }
end

function request()
  local at = index % count
  index = index + 1
  return "GET /r/" .. tokens[at + 1] .. " HTTP/1.1\r\n" .. agents[index % 10 + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(fmt(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
end
