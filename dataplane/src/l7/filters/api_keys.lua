-- Makes a user name and a password of an API key (CLIENT.SECRET), which the next filter looks up.
-- `places` and `keeps` stand before this.

-- Splits NAME=VALUE out of a list; returns the first value and what is left.
local function split_out(text, separator, name)
  local value, rest = nil, {}
  for part in string.gmatch(text, "[^" .. separator .. "]+") do
    local known, it = string.match(part, "^%s*([^=]-)%s*=(.*)$")
    if known == name then
      value = value or it
    else
      rest[#rest + 1] = part
    end
  end
  return value, table.concat(rest, separator)
end

local take = {}

function take.header(headers, place)
  local text = headers:get(place.name)
  if text == nil or string.sub(text, 1, #place.prefix) ~= place.prefix then return nil end
  if not keeps then headers:remove(place.name) end
  return string.sub(text, #place.prefix + 1)
end

function take.query(headers, place)
  local path, query = string.match(headers:get(":path") or "", "^([^?]*)%?(.*)$")
  if path == nil then return nil end
  local value, rest = split_out(query, "&", place.name)
  if value == nil then return nil end
  if not keeps then
    headers:replace(":path", rest == "" and path or path .. "?" .. rest)
  end
  return (string.gsub(value, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

function take.cookie(headers, place)
  local text = headers:get("cookie")
  if text == nil then return nil end
  local value, rest = split_out(text, ";", place.name)
  if value == nil or keeps then return value end
  rest = string.gsub(rest, "^%s+", "")
  if rest == "" then headers:remove("cookie") else headers:replace("cookie", rest) end
  return value
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("x-marchproxy-key")
  local key = nil
  for _, place in ipairs(places) do
    local found = take[place.kind](headers, place)
    key = key or found
  end
  local client, secret = string.match(key or "", "^([^.:]+)%.([^:]+)$")
  if client ~= nil then
    local pair = handle:base64Escape(client .. ":" .. secret)
    headers:add("x-marchproxy-key", "Basic " .. pair)
  end
end
