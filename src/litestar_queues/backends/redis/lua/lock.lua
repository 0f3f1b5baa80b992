#!lua flags=allow-oom
-- Take a lock, or prolong it.
--
-- asked: name; owner; now and until, or nil; seconds and microseconds from now, without them. answer: whether it is the owner's

local locks = space .. 'locks'
local seconds, microseconds = clock()
local now = asked.now or iso(seconds, microseconds)
local over = asked['until']
if not over then
    seconds, microseconds = seconds + asked.seconds, microseconds + asked.microseconds
    over = iso(seconds + math.floor(microseconds / 1000000), microseconds % 1000000)
end
local holder = call('HGET', locks, asked.name)
if holder and string.sub(holder, TIME + 1) ~= asked.owner and string.sub(holder, 1, TIME) > now then
    return answer(false)
end
call('HSET', locks, asked.name, over .. asked.owner)
return answer(true)
