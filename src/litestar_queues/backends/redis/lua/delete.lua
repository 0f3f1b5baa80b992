#!lua flags=allow-oom
-- Forget terminal tasks that are under the fences given.
--
-- asked: tasks, each {id, fence}. answer: the places in the batch of those that are forgotten

local gone = {}

for i, held in ipairs(asked.tasks) do
    local id = held[1]
    local task = look(id)
    if task and TERMINAL[task.state] and task.fence == held[2] then
        displace(task)
        remove(space .. 'ids', call('HGET', task_key(id), 'created_at') .. id)
        call('DEL', task_key(id))
        gone[#gone + 1] = i
    end
end
write()
return answer(gone)
