#!lua flags=allow-oom
-- Give a lock back. asked: name; owner. answer: whether it was the owner's

local locks = space .. 'locks'
local holder = call('HGET', locks, asked.name)
if not holder or string.sub(holder, TIME + 1) ~= asked.owner then
    return answer(false)
end
call('HDEL', locks, asked.name)
return answer(true)
