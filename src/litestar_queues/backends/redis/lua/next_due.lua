#!lua flags=no-writes
-- asked: queues, or nil for all. answer: when the first scheduled task comes due, or false

local first = false
local function see(member)
    local due_at = member and string.sub(member, 1, TIME)
    if due_at and (not first or due_at < first) then
        first = due_at
    end
end

for _, backend in ipairs(call('SMEMBERS', space .. 'backends')) do
    if asked.queues then
        for _, queue in ipairs(asked.queues) do
            see(lane_of(queue, backend).first.later)
        end
    else
        see(first_of(heads_key('later', backend)))
    end
end
return answer(first)
