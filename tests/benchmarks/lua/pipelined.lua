-- As many requests at a time as the argument says.
local several

function init(arguments)
  several = string.rep(wrk.format(), tonumber(arguments[1]))
end

function request()
  return several
end
