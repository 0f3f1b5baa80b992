#!lua flags=allow-oom
-- Store each task where the stored fence is one below its own: the one compare-and-swap behind every transition.
--
-- asked: tasks, each {id, the fence that it was made from, state, execution backend, due at, heartbeat at, finished at, fields
-- to be set, fields to be forgotten}; stale, a query for `is_stale`, or nil; tell, the channel on which ends are told, or nil.
-- answer: the places in the batch of those that were stored

local keys = space .. 'keys'
local stored, ended = {}, {}

local function is_free(key, id)
    local holder = call('HGET', keys, key)
    return not holder or holder == id
end

for i, after in ipairs(asked.tasks) do
    local id, state = after[1], after[3]
    local task = look(id)
    -- A task in a state that is not known here is a newer version's, and left to it.
    local held = task and INDEX[task.state] and task.fence == after[2]
    local saved = held
        and asked.stale
        and not (task.state == 'running' and is_stale(task.heartbeat_at, task.stale_after, asked.stale))
    if held and not saved and (not task.key or not ACTIVE[state] or is_free(task.key, id)) then
        displace(task)
        if task.key and ACTIVE[state] then
            call('HSET', keys, task.key, id)
        elseif task.key and ACTIVE[task.state] and is_free(task.key, id) then
            call('HDEL', keys, task.key)
        end
        if not ACTIVE[state] then
            ended[#ended + 1] = id
        end
        task.state, task.execution_backend = state, after[4]
        task.due_at, task.heartbeat_at, task.finished_at = after[5], after[6], after[7]
        call('HSET', task_key(id), unpack(after[8]))
        if #after[9] > 0 then
            call('HDEL', task_key(id), unpack(after[9]))
        end
        place(task)
        stored[#stored + 1] = i
    end
end
write()
if asked.tell and #ended > 0 then
    redis.pcall('PUBLISH', asked.tell, table.concat(ended, '\0')) -- who may not publish has stored its tasks all the same
end
return answer(stored)
