#!lua flags=no-writes
-- Look through some of all tasks, the newest first, those of one moment by id.
--
-- asked: after, {created at, id} of the last one that was looked at, or nil; looks, how many to look at; limit; states, queues
-- and names as sets, and key, each nil for any. answer: {records, the last one that was looked at, or false at the end}

local ids = space .. 'ids'
local records, looked = {}, 0
local moment, id = nil, ''

local function fits(wanted, value)
    return not wanted or wanted[value]
end

local function earlier()
    local found = call('ZREVRANGEBYLEX', ids, moment and ('(' .. moment) or '+', '-', 'LIMIT', 0, 1)[1]
    moment, id = found and string.sub(found, 1, TIME), ''
end

if asked.after then
    moment, id = asked.after[1], asked.after[2]
else
    earlier()
end
while moment do
    local size = math.min(asked.looks - looked, 200)
    local from = id == '' and '[' .. moment or '(' .. moment .. id
    local group = call('ZRANGEBYLEX', ids, from, '(' .. moment .. AFTER_ALL, 'LIMIT', 0, size)
    for _, member in ipairs(group) do
        id = string.sub(member, TIME + 1)
        looked = looked + 1
        local record = read(id)
        if
            fits(asked.states, record[AT.state])
            and fits(asked.queues, record[AT.queue])
            and fits(asked.names, record[AT.name])
            and (not asked.key or record[AT.key] == asked.key)
        then
            records[#records + 1] = record
            if #records == asked.limit then
                return answer({ records, false })
            end
        end
    end
    if #group < size then
        earlier()
    elseif looked == asked.looks then
        return answer({ records, { moment, id } })
    end
end
return answer({ records, false })
