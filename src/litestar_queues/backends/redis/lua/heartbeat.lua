#!lua flags=allow-oom
-- Set the heartbeat, and the progress where one is given, of tasks that run under the fences given.
--
-- asked: now, or nil; tasks, each {id, fence, progress or nil}. answer: the places in the batch of those that do

local now = present()
local kept = {}

for i, held in ipairs(asked.tasks) do
    local task = look(held[1])
    if task and task.state == 'running' and task.fence == held[2] then
        remove(PLACES.running(task))
        task.heartbeat_at = now
        add(PLACES.running(task))
        if held[3] then
            call('HSET', task_key(task.id), 'heartbeat_at', now, 'progress', held[3])
        else
            call('HSET', task_key(task.id), 'heartbeat_at', now)
        end
        kept[#kept + 1] = i
    end
end
write()
return answer(kept)
