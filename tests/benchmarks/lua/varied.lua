-- A field that differs on every request, and is always of the same length: no cache of whole heads could help.
local before, after
local counter = 0

function init(arguments)
  wrk.headers["Cookie"] = "session=@@; theme=dark"
  before, after = wrk.format():match("^(.-)@@(.*)$")
end

function request()
  counter = counter + 1
  return before .. string.format("%032d", counter) .. after
end
