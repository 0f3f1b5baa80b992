#!lua flags=no-writes
-- Running tasks whose owners are silent, the oldest heartbeat first: some of the index, which the caller goes through.
--
-- asked: stale, a query for `is_stale`; after, a member of the index, or nil; looks, at how many tasks to look; limit.
-- answer: records; the member to go on after, or false where none is left

local records = {}
local from = asked.after and '(' .. asked.after or '-'
local members = call('ZRANGEBYLEX', space .. 'running', from, '(' .. asked.stale.at, 'LIMIT', 0, asked.looks)
local last = false
for _, member in ipairs(members) do
    if #records >= asked.limit then
        break
    end
    last = member
    local record = read(string.sub(member, TIME + 1))
    if record and is_stale(record[AT.heartbeat_at], record[AT.stale_after], asked.stale) then
        records[#records + 1] = record
    end
end
if #members < asked.looks or #records >= asked.limit then
    last = false
end
return answer({ records, last })
