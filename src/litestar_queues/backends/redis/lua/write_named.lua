#!lua flags=allow-oom
-- Store named records, each where the stored version is the one that was seen.
--
-- asked: records, each {name, the version seen or "0", the new version, value}. answer: the places in the batch of those
-- that were stored

local stored = {}
for i, record in ipairs(asked.records) do
    local before = call('HGET', space .. 'records', record[1])
    local version = before and string.match(before, '^%d+') or '0'
    if version == record[2] then
        call('HSET', space .. 'records', record[1], record[3] .. ':' .. record[4])
        stored[#stored + 1] = i
    end
end
return answer(stored)
