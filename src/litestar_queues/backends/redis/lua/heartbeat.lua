#!lua flags=allow-oom
-- Set the heartbeat, and the progress and the window where they are given, of tasks that are owned under the fences given.
--
-- asked: now, or nil; tasks, each {id, fence, progress or nil, stale after or nil}. answer: the places in the batch of those
-- that are

local now = present()
local kept = {}

for i, held in ipairs(asked.tasks) do
    local task = look(held[1])
    if task and OWNED[task.state] and task.fence == held[2] then
        local place_of = PLACES[INDEX[task.state]]
        remove(place_of(task))
        task.heartbeat_at = now
        add(place_of(task))
        local fields = { 'heartbeat_at', now }
        for at, name in pairs({ [3] = 'progress', [4] = 'stale_after' }) do
            if held[at] then
                fields[#fields + 1] = name
                fields[#fields + 1] = held[at]
            end
        end
        call('HSET', task_key(task.id), unpack(fields))
        kept[#kept + 1] = i
    end
end
write()
return answer(kept)
