#!lua flags=no-writes
-- asked: queues, or nil for all; states. answer: {queue, state, how many} of each pair that has tasks

local counts = {}
if asked.queues then
    for _, queue in ipairs(asked.queues) do
        for _, state in ipairs(asked.states) do
            local found = call('HGET', space .. 'counts', state .. ':' .. queue)
            if found then
                counts[#counts + 1] = { queue, state, tonumber(found) }
            end
        end
    end
else
    local all = call('HGETALL', space .. 'counts')
    for i = 1, #all, 2 do
        local colon = string.find(all[i], ':', 1, true)
        counts[#counts + 1] = { string.sub(all[i], colon + 1), string.sub(all[i], 1, colon - 1), tonumber(all[i + 1]) }
    end
end
return answer(counts)
