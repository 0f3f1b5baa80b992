#!lua
-- Store new tasks, and answer those that are stored already, or whose key is held. It is the one script that a server without
-- memory refuses, before it begins: what is in the store can still be done and deleted.
--
-- asked: now, or nil; tasks, each {id, queue, execution backend, priority, key, run at, expires at, all fields that a caller
-- knows}. answer: {now, {{place in the batch, whether it is that task's own record, record}, ...}}

local now = present()
local keys = space .. 'keys'
local others = {}

for i, new in ipairs(asked.tasks) do
    local id, key, run_at, fields = new[1], new[5], new[6], new[8]
    local holder = key and call('HGET', keys, key)
    if call('EXISTS', task_key(id)) == 1 then
        others[#others + 1] = { i, true, read(id) }
    elseif holder then
        others[#others + 1] = { i, false, read(holder) }
    else
        local waits = run_at and run_at > now
        local task = {
            id = id,
            queue = new[2],
            execution_backend = new[3],
            priority = new[4],
            state = waits and 'scheduled' or 'pending',
            due_at = waits and run_at or now,
            expires_at = new[7],
        }
        local n = #fields
        fields[n + 1], fields[n + 2] = 'state', task.state
        fields[n + 3], fields[n + 4] = 'due_at', task.due_at
        fields[n + 5], fields[n + 6] = 'created_at', now
        call('HSET', task_key(id), unpack(fields))
        add(space .. 'ids', now .. id)
        if key then
            call('HSET', keys, key, id)
        end
        place(task)
    end
end
write()
return answer({ now, others })
