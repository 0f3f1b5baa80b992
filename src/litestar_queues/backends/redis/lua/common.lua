-- What every script begins with, behind its own first line.
--
-- KEYS[1] is the namespace, "{prefix}:". Every other key is made from it, and has its hash tag, so that one slot of a
-- cluster holds them all. ARGV[1] is what is asked for, as MessagePack, and so is the answer: texts of users pass as they
-- are, byte for byte. Whole numbers of ours that could pass 2^53 (fences) are texts, and so are times: ISO 8601 in UTC, 26
-- characters, which sort as they follow each other.

local space = KEYS[1]
local asked = cmsgpack.unpack(ARGV[1])
local call = redis.call

-- @TABLES@ INDEX: the index that a task in a state stands in. EXPIRING: the one besides, where it can expire. ACTIVE: the states
-- in which it keeps its key. WAITING: those in which it can be reserved. UNSTARTED: those in which a claim by id takes it.
-- OWNED: those in which it has heartbeats. TERMINAL: those that end it. FIELDS: the fields of a record as they are answered,
-- its id after them. AT: their places.

local NEVER = '0000-00-00T00:00:00.000000' -- sorts before every time
local AFTER_ALL = '\255' -- sorts after every text in UTF-8
local TIME, ORDER = #NEVER, 10 -- the lengths of a time, and of a priority that sorts
local SHAPE = TIME + ORDER
local CHUNK = 2000 -- values in one command: Lua unpacks no more than 8,000

-- Two texts of digits and of the same punctuation at the same places compare alike in every locale; ids do not, and the
-- server may run in any: they are compared by their bytes.

local function before_id(a, b)
    local length = math.min(#a, #b)
    for i = 1, length do
        local x, y = string.byte(a, i), string.byte(b, i)
        if x ~= y then
            return x < y
        end
    end
    return #a < #b
end

-- Time

local function iso(seconds, microseconds)
    local days = math.floor(seconds / 86400)
    local rest = seconds - days * 86400
    local shifted = days + 719468 -- days since 0000-03-01
    local era = math.floor(shifted / 146097)
    local of_era = shifted - era * 146097
    local years = math.floor(
        (of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365
    )
    local of_year = of_era - (365 * years + math.floor(years / 4) - math.floor(years / 100))
    local month = math.floor((5 * of_year + 2) / 153)
    local day = of_year - math.floor((153 * month + 2) / 5) + 1
    month = month < 10 and month + 3 or month - 9
    local year = years + era * 400 + (month <= 2 and 1 or 0)
    local hour = math.floor(rest / 3600)
    local minute = math.floor(rest % 3600 / 60)
    return string.format(
        '%04d-%02d-%02dT%02d:%02d:%02d.%06d', year, month, day, hour, minute, rest % 60, microseconds
    )
end

local function clock()
    local time = call('TIME')
    return tonumber(time[1]), tonumber(time[2])
end

local function present()
    return asked.now or iso(clock())
end

-- The seconds from the beginning of 1970 to a time, and its microseconds.

local function parts(time)
    local year, month, day, hour, minute, second, micro = string.match(
        time, '^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.(%d+)$'
    )
    year, month, day = tonumber(year), tonumber(month), tonumber(day)
    if month <= 2 then
        year = year - 1
    end
    local era = math.floor(year / 400)
    local of_era = year - era * 400
    local of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
    local days = era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
    return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second), tonumber(micro)
end

-- Whether the owner of a task is silent, by the fields `heartbeat_at` and `stale_after`.
--
-- query: at, a time; window, in microseconds; own, whether the task's own window counts; longest, in microseconds, or nil

local oldest = {} -- the time of the oldest heartbeat that is fresh, by the window in microseconds

local function is_stale(heartbeat, window, query)
    if not heartbeat then
        return true
    end
    window = query.own and window and math.floor(tonumber(window) * 1000000 + 0.5) or query.window
    if query.longest and window >= query.longest then
        return false
    end
    if not oldest[window] then
        local seconds, micro = parts(query.at)
        micro = micro - window % 1000000
        seconds = seconds - math.floor(window / 1000000)
        if micro < 0 then
            seconds, micro = seconds - 1, micro + 1000000
        end
        oldest[window] = iso(seconds, micro)
    end
    return heartbeat < oldest[window]
end

-- Records

local function task_key(id)
    return space .. 'task:' .. id
end

local function read(id)
    local record = call('HMGET', task_key(id), unpack(FIELDS))
    if not record[AT.state] then
        return nil
    end
    record[#FIELDS + 1] = id
    return record
end

local function order_of(priority)
    return string.format('%010.0f', 2147483647 - tonumber(priority))
end

-- What is to be written to sorted sets, whose members all have the score 0 and sort by their bytes. It is gathered, so that
-- a batch is a few commands.

local adding, removing, counting = {}, {}, {}

local function add(key, member)
    local list = adding[key]
    if not list then
        list = {}
        adding[key] = list
    end
    list[#list + 1] = 0
    list[#list + 1] = member
end

local function remove(key, member)
    local list = removing[key]
    if not list then
        list = {}
        removing[key] = list
    end
    list[#list + 1] = member
end

local function count(queue, state, change)
    local field = state .. ':' .. queue
    counting[field] = (counting[field] or 0) + change
end

-- Lanes: the tasks of one queue for one execution backend, in the sorted sets `ready` (pending: priority, due, id) and
-- `later` (scheduled: due, priority, id). The first members of all lanes of a backend are kept together, in `heads:ready` and
-- `heads:later`, so that who claims from any queue need not look into each.

local lanes = {}

local function first_of(key)
    return call('ZRANGE', key, 0, 0)[1]
end

local function lane_of(queue, backend)
    local name = #backend .. ':' .. backend .. ':' .. queue
    local lane = lanes[name]
    if not lane then
        lane = {
            queue = queue,
            backend = backend,
            ready = space .. 'ready:' .. name,
            later = space .. 'later:' .. name,
            first = {},
        }
        -- As they are before anything is written here.
        lane.first.ready = first_of(lane.ready)
        lane.first.later = first_of(lane.later)
        lanes[name] = lane
    end
    return lane
end

local function heads_key(kind, backend)
    return space .. 'heads:' .. kind .. ':' .. backend
end

local function head(member, queue)
    return member .. '\0' .. queue
end

local function follow_heads(kind)
    for _, lane in pairs(lanes) do
        local before, now = lane.first[kind], nil
        if adding[lane[kind]] or removing[lane[kind]] then
            now = first_of(lane[kind])
            if before ~= now then
                local key = heads_key(kind, lane.backend)
                if before then
                    call('ZREM', key, head(before, lane.queue))
                end
                if now then
                    call('ZADD', key, 0, head(now, lane.queue))
                    call('SADD', space .. 'backends', lane.backend)
                end
                lane.first[kind] = now
            end
        end
    end
end

local function in_chunks(command, key, list)
    for from = 1, #list, CHUNK do
        call(command, key, unpack(list, from, math.min(from + CHUNK - 1, #list)))
    end
end

local function write()
    for key, list in pairs(removing) do
        in_chunks('ZREM', key, list)
    end
    for key, list in pairs(adding) do
        in_chunks('ZADD', key, list)
    end
    for field, change in pairs(counting) do
        if change ~= 0 and call('HINCRBY', space .. 'counts', field, change) == 0 then
            call('HDEL', space .. 'counts', field)
        end
    end
    follow_heads('ready')
    follow_heads('later')
    adding, removing, counting = {}, {}, {}
end

-- Indexes, by the table

local PLACES = {
    ready = function(task)
        return lane_of(task.queue, task.execution_backend).ready, order_of(task.priority) .. task.due_at .. task.id
    end,
    later = function(task)
        return lane_of(task.queue, task.execution_backend).later, task.due_at .. order_of(task.priority) .. task.id
    end,
    dispatched = function(task)
        return space .. 'dispatched', (task.heartbeat_at or NEVER) .. task.id
    end,
    running = function(task)
        return space .. 'running', (task.heartbeat_at or NEVER) .. task.id
    end,
    finished = function(task)
        return space .. 'finished', task.finished_at .. task.id
    end,
}

local function place(task)
    add(PLACES[INDEX[task.state]](task))
    if task.expires_at and EXPIRING[task.state] then
        add(space .. EXPIRING[task.state], task.expires_at .. task.id)
    end
    count(task.queue, task.state, 1)
end

local function displace(task)
    remove(PLACES[INDEX[task.state]](task))
    if task.expires_at and EXPIRING[task.state] then
        remove(space .. EXPIRING[task.state], task.expires_at .. task.id)
        remove(space .. 'parked', task.expires_at .. task.id)
    end
    count(task.queue, task.state, -1)
end

local PLACED = {
    'state', 'fence', 'queue', 'execution_backend', 'priority', 'due_at', 'expires_at', 'heartbeat_at', 'finished_at', 'key',
    'stale_after',
}

local function look(id)
    local found = call('HMGET', task_key(id), unpack(PLACED))
    if not found[1] then
        return nil
    end
    local task = { id = id }
    for i, name in ipairs(PLACED) do
        task[name] = found[i] or nil
    end
    return task
end

local function answer(value)
    return cmsgpack.pack(value)
end
