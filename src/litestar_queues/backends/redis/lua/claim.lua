#!lua flags=allow-oom
-- Take the first tasks in the order of claiming: to run them, or to reserve them for a dispatch.
--
-- asked: now, or nil; worker; reserve, whether they are reserved; stale after, or nil; execution ref, the claimer's own, or nil,
-- which leaves what is stored; limit; queues, tasks (each {id, fence}) and backends, or nil for any; nonce; promoted, how many
-- scheduled tasks that came due are made pending beside as many as are wanted; passed, how many overdue ones are looked at.
-- answer: {records, whether there may be more}

local now = present()
local limit = asked.limit

-- What a claim with this nonce was given: the answer to it was lost.
local memory = space .. 'claim:' .. asked.nonce
local given = call('GET', memory)
if given then
    local records = {}
    for _, held in ipairs(cmsgpack.unpack(given)) do
        local record = read(held[1])
        if record and record[AT.fence] == held[2] then
            records[#records + 1] = record
        end
    end
    return answer({ records, false })
end

local function before(a, b)
    if a.shape ~= b.shape then
        return a.shape < b.shape
    end
    return before_id(string.sub(a.member, SHAPE + 1), string.sub(b.member, SHAPE + 1))
end

local function set_of(list)
    local set = {}
    for _, one in ipairs(list) do
        set[one] = true
    end
    return set
end

local function unique(list)
    local seen, found = {}, {}
    for _, one in ipairs(list) do
        if not seen[one] then
            seen[one] = true
            found[#found + 1] = one
        end
    end
    return found
end

-- The members of the lanes in question, in order, however many lanes there are: a heap of one cursor for each lane. Lanes of
-- unnamed queues are opened when their head is the next, in the order of `heads`. With `last`, members begin with a time, and
-- those after `last` are not wanted.

local backends = asked.backends and unique(asked.backends) or call('SMEMBERS', space .. 'backends')
local named = nil
if asked.queues then
    named = {}
    for _, queue in ipairs(unique(asked.queues)) do
        for _, backend in ipairs(backends) do
            named[#named + 1] = lane_of(queue, backend)
        end
    end
end

local function merge(kind, last)
    local heap, doors = {}, {}
    local size = named and math.max(4, math.ceil(limit / math.max(#named, 1))) or math.min(limit, 100)
    size = math.min(size, 1000)

    local function sift_up(i)
        while i > 1 do
            local parent = math.floor(i / 2)
            if not before(heap[i], heap[parent]) then
                return
            end
            heap[i], heap[parent] = heap[parent], heap[i]
            i = parent
        end
    end

    local function sift_down()
        local i = 1
        while true do
            local least, left = i, 2 * i
            for child = left, left + 1 do
                if heap[child] and before(heap[child], heap[least]) then
                    least = child
                end
            end
            if least == i then
                return
            end
            heap[i], heap[least] = heap[least], heap[i]
            i = least
        end
    end

    local function show(cursor, member)
        cursor.member = member
        cursor.shape = member and string.sub(member, 1, SHAPE)
        return member and not (last and string.sub(member, 1, TIME) > last)
    end

    local function forward(cursor)
        cursor.at = cursor.at + 1
        if cursor.at > #cursor.list and cursor.asked then
            local from = cursor.skip or ('(' .. cursor.member)
            cursor.skip = nil
            cursor.list = call('ZRANGEBYLEX', cursor.lane[kind], from, '+', 'LIMIT', 0, cursor.size)
            cursor.asked = #cursor.list == cursor.size
            cursor.size = math.min(cursor.size * 2, 1000)
            cursor.at = 1
        end
        return show(cursor, cursor.list[cursor.at])
    end

    local function open(lane, first)
        local cursor = { lane = lane, list = { first }, at = 1, asked = true, size = size }
        if show(cursor, first) then
            heap[#heap + 1] = cursor
            sift_up(#heap)
        end
    end

    local function knock(door)
        door.at = door.at + 1
        if door.at > #door.list and door.asked then
            local from = door.entry and ('(' .. door.entry) or '-'
            door.list = call('ZRANGEBYLEX', heads_key(kind, door.backend), from, '+', 'LIMIT', 0, size)
            door.asked = #door.list == size
            door.at = 1
        end
        door.entry = door.list[door.at]
        if not door.entry then
            return false
        end
        local stop = string.find(door.entry, '\0', SHAPE, true)
        door.queue = string.sub(door.entry, stop + 1)
        return show(door, string.sub(door.entry, 1, stop - 1))
    end

    if named then
        for _, lane in ipairs(named) do
            if lane.first[kind] then
                open(lane, lane.first[kind])
            end
        end
    else
        for _, backend in ipairs(backends) do
            local door = { backend = backend, list = {}, at = 0, asked = true }
            if knock(door) then
                doors[#doors + 1] = door
            end
        end
    end

    local current = nil
    local function skip_priority() -- nothing more of this lane with this priority is wanted
        current.list, current.asked = {}, true
        current.skip = '[' .. string.sub(current.member, 1, ORDER) .. AFTER_ALL
    end

    return function()
        if current then
            if not forward(current) then
                heap[1] = heap[#heap]
                heap[#heap] = nil
            end
            if heap[1] then
                sift_down()
            end
            current = nil
        end
        while true do
            local next_door
            for i, door in ipairs(doors) do
                if (not heap[1] or before(door, heap[1])) and (not next_door or before(door, doors[next_door])) then
                    next_door = i
                end
            end
            if not next_door then
                break
            end
            local door = doors[next_door]
            open(lane_of(door.queue, door.backend), door.member)
            if not knock(door) then
                table.remove(doors, next_door)
            end
        end
        current = heap[1]
        if current then
            return current.member, current.lane, skip_priority
        end
    end
end

local claimed, held = {}, {}

-- The fields that a claim or a reservation changes: the lifecycle's rows of `claim` and of `reserve`. False clears a field.

local function changes_of(record)
    local changed = {
        fence = string.format('%.0f', tonumber(record[AT.fence]) + 1),
        worker = asked.worker,
        heartbeat_at = now,
        stale_after = asked.stale_after or false,
    }
    if asked.reserve then
        changed.state = 'dispatched'
        changed.execution_ref = false
    else
        changed.state = 'running'
        changed.attempt = string.format('%.0f', tonumber(record[AT.attempt]) + 1)
        changed.started_at = now
        changed.execution_ref = asked.execution_ref
    end
    return changed
end

local function take(record)
    local id = record[#FIELDS + 1]
    local set, cleared = {}, {}
    for name, value in pairs(changes_of(record)) do
        if value then
            set[#set + 1] = name
            set[#set + 1] = value
        elseif record[AT[name]] then
            cleared[#cleared + 1] = name
        end
        record[AT[name]] = value
    end
    call('HSET', task_key(id), unpack(set))
    if #cleared > 0 then
        call('HDEL', task_key(id), unpack(cleared))
    end
    place({
        id = id,
        queue = record[AT.queue],
        execution_backend = record[AT.execution_backend],
        state = record[AT.state],
        expires_at = record[AT.expires_at],
        heartbeat_at = now,
    })
    claimed[#claimed + 1] = record
    held[#held + 1] = { id, record[AT.fence] }
end

local function finish(more)
    write()
    if #held > 0 then
        call('SET', memory, cmsgpack.pack(held), 'EX', 60)
    end
    return answer({ claimed, more })
end

-- Tasks that are named: their runs take dispatched ones in this way, and nobody reserves these again.

if asked.tasks then
    local wanted = {}
    local takes = asked.reserve and WAITING or UNSTARTED
    local queues, of = asked.queues and set_of(asked.queues), asked.backends and set_of(asked.backends)
    for _, one in ipairs(asked.tasks) do
        local record = read(one[1])
        if
            record
            and record[AT.fence] == one[2]
            and takes[record[AT.state]]
            and (not queues or queues[record[AT.queue]])
            and (not of or of[record[AT.execution_backend]])
            and record[AT.due_at] <= now
            and not (record[AT.expires_at] and record[AT.expires_at] <= now)
            and not wanted[one[1]]
        then
            local shape = order_of(record[AT.priority]) .. record[AT.due_at]
            local entry = { shape = shape, member = shape .. one[1], record = record }
            wanted[one[1]] = true
            wanted[#wanted + 1] = entry
        end
    end
    table.sort(wanted, before)
    for i = 1, math.min(limit, #wanted) do
        displace(look(string.sub(wanted[i].member, SHAPE + 1)))
        take(wanted[i].record)
    end
    return finish(false)
end

-- Scheduled tasks that came due are made pending, the longest due first, a bounded number at a time.

local left = limit + asked.promoted
for member, lane in merge('later', now) do
    if left == 0 then
        break
    end
    left = left - 1
    local due_at, order, id = string.sub(member, 1, TIME), string.sub(member, TIME + 1, SHAPE), string.sub(member, SHAPE + 1)
    remove(lane.later, member)
    add(lane.ready, order .. due_at .. id)
    call('HSET', task_key(id), 'state', 'pending')
    count(lane.queue, 'scheduled', -1)
    count(lane.queue, 'pending', 1)
end

-- Overdue tasks that a claim met were put aside, so that no other meets them. Where the clock went back, they return.

local aside = call('ZREVRANGE', space .. 'parked', 0, 0)[1]
if aside and string.sub(aside, 1, TIME) > now then
    for _, member in ipairs(call('ZRANGEBYLEX', space .. 'parked', '(' .. now .. AFTER_ALL, '+', 'LIMIT', 0, asked.passed)) do
        local task = look(string.sub(member, TIME + 1))
        remove(space .. 'parked', member)
        add(PLACES.ready(task))
    end
end
if next(adding) then
    write()
end

-- Pending tasks

local passed = 0
for member, lane, skip_priority in merge('ready') do
    if #claimed == limit then
        break
    end
    local id = string.sub(member, SHAPE + 1)
    local record = read(id)
    local expires_at = record[AT.expires_at]
    if expires_at and expires_at <= now then
        if passed == asked.passed then
            return finish(true)
        end
        passed = passed + 1
        remove(lane.ready, member)
        add(space .. 'parked', expires_at .. id)
    elseif record[AT.due_at] > now then
        skip_priority() -- the clock went back: the others of this priority came due later still
    else
        remove(lane.ready, member)
        if expires_at then
            remove(space .. 'expiring', expires_at .. id)
        end
        count(lane.queue, 'pending', -1)
        take(record)
    end
end
return finish(false)
