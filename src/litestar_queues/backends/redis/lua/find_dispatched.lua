#!lua flags=no-writes
-- Dispatched tasks that were not heard of for longer than their own windows, the oldest heartbeat first: some of the index,
-- which the caller goes through.
--
-- asked: at, a time; backends, as a set, or nil for any; after, a member of the index, or nil; looks, at how many tasks to look;
-- limit. answer: records; the member to go on after, or false where none is left

local records = {}
local own = { at = asked.at, own = true }
local from = asked.after and '(' .. asked.after or '-'
local members = call('ZRANGEBYLEX', space .. 'dispatched', from, '+', 'LIMIT', 0, asked.looks)
local last = false
for _, member in ipairs(members) do
    if #records >= asked.limit then
        break
    end
    last = member
    local id, heartbeat = string.sub(member, TIME + 1), string.sub(member, 1, TIME)
    local backend, window = unpack(call('HMGET', task_key(id), 'execution_backend', 'stale_after'))
    local is_silent = not window or is_stale(heartbeat ~= NEVER and heartbeat, window, own)
    if is_silent and (not asked.backends or asked.backends[backend]) then
        records[#records + 1] = read(id)
    end
end
if #members < asked.looks or #records >= asked.limit then
    last = false
end
return answer({ records, last })
