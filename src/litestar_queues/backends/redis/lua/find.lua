#!lua flags=no-writes
-- The first tasks of some indexes by time, then by id.
--
-- asked: indexes; since, a time, or nothing; until, a time; through, whether that time counts; limit. answer: records

local bound = '(' .. asked['until'] .. (asked.through and AFTER_ALL or '')
local first = asked.since == '' and '-' or '[' .. asked.since
local lists, at = {}, {}
for i, index in ipairs(asked.indexes) do
    lists[i] = call('ZRANGEBYLEX', space .. index, first, bound, 'LIMIT', 0, asked.limit)
    at[i] = 1
end

local records = {}
while #records < asked.limit do
    local first, of
    for i, list in ipairs(lists) do
        local member = list[at[i]]
        if member and (not first or before_id(member, first)) then
            first, of = member, i
        end
    end
    if not first then
        break
    end
    at[of] = at[of] + 1
    records[#records + 1] = read(string.sub(first, TIME + 1))
end
return answer(records)
