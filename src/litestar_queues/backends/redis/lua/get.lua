#!lua flags=no-writes
-- asked: ids. answer: the records of those that are stored

local records = {}
for _, id in ipairs(asked.ids) do
    records[#records + 1] = read(id)
end
return answer(records)
