#!lua flags=no-writes
-- The named records whose names begin with a prefix.
--
-- asked: prefix. answer: for each: name, version, value

local found = {}
local all = call('HGETALL', space .. 'records')
for i = 1, #all, 2 do
    if string.sub(all[i], 1, #asked.prefix) == asked.prefix then
        local version, value = string.match(all[i + 1], '^(%d+):(.*)$')
        found[#found + 1] = { all[i], version, value }
    end
end
return answer(found)
