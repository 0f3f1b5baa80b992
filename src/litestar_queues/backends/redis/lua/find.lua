#!lua flags=no-writes
-- The first tasks of an index by time.
--
-- asked: index; until, a time; through, whether that time counts; limit. answer: records

local records = {}
local bound = '(' .. asked['until'] .. (asked.through and AFTER_ALL or '')
for _, member in ipairs(call('ZRANGEBYLEX', space .. asked.index, '-', bound, 'LIMIT', 0, asked.limit)) do
    records[#records + 1] = read(string.sub(member, TIME + 1))
end
return answer(records)
