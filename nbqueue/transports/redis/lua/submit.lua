-- Take tasks in; one that is known already is left as it is.
--
-- KEYS[1]   the namespace, of which it uses: tasks, result:*, blob:*, references, queued, lanes, ready:*, idle:*,
--           due, timers, recent, recent:*
-- ARGV[1]   {max_queued, recent, expires, notebook, shapes = {{number, queue, lane, priority, blobs, delay,
--           expires}, …}}: what many tasks have in common is said once; `recent` ids are listed, for `expires`
--           seconds (0: for ever); a shape's `expires` is -1 for never
-- ARGV[2…]  of each task, those of the first shape first: its entry, its envelope; no id is twice in one shape
--
-- Returns nothing if all are kept; else of each task 0 (kept), 1 (known), 2 (its queue is full), or the key of a
-- blob that is not here.

local said = cmsgpack.unpack(ARGV[1])
local now, at = clock(), 2
local answers, all, taken = {}, true, {}

-- One by one, where some may be known, or there is no room for all; returns the entries of those that are kept.
local function sift(shape, ids, keys, room)
    local entries = {}
    for i, id in ipairs(ids) do
        local answer = 0
        if call('EXISTS', keys[i]) == 1 then
            answer = 1
        elseif shape.missing or #entries >= room then
            answer = call('HEXISTS', P .. 'tasks', id) == 1 and 1 or shape.missing or 2
        elseif call('HSETNX', P .. 'tasks', id, ARGV[at + 2 * i - 1]) == 0 then
            answer = 1
        else
            table.insert(entries, ARGV[at + 2 * i - 2])
        end
        answers[#answers + 1] = answer
        all = all and answer == 0
    end
    return entries
end

-- All at once; returns their entries, or nothing if one is known or they are too many.
local function keep(shape, ids, keys, room)
    if shape.missing or #ids > room or call('EXISTS', unpack(keys)) > 0 then return end
    for _, known in ipairs(call('HMGET', P .. 'tasks', unpack(ids))) do
        if known then return end
    end
    local fields, entries = {}, {}
    for i, id in ipairs(ids) do
        fields[2 * i - 1], fields[2 * i] = id, ARGV[at + 2 * i - 1]
        entries[i] = ARGV[at + 2 * i - 2]
        answers[#answers + 1] = 0
    end
    call('HSET', P .. 'tasks', unpack(fields))
    return entries
end

for _, shape in ipairs(said.shapes) do
    local ids, keys, result = {}, {}, P .. 'result:'
    for i = 1, shape.number do
        ids[i] = id_of(ARGV[at + 2 * i - 2])
        keys[i] = result .. ids[i]
    end
    for _, blob in ipairs(shape.blobs) do
        if not is_there(blob) then shape.missing = blob end
    end
    local room = said.max_queued - (call('HGET', P .. 'queued', shape.queue) or 0)
    local entries = keep(shape, ids, keys, room) or sift(shape, ids, keys, room)
    at = at + 2 * shape.number

    local number = #entries
    if number > 0 then
        count('queued', shape.queue, number)
        for _, blob in ipairs(shape.blobs) do refer(blob, number) end
        if number < #ids then
            ids = {}
            for i, entry in ipairs(entries) do ids[i] = id_of(entry) end
        end
        if shape.expires >= 0 then
            for _, id in ipairs(ids) do call('ZADD', P .. 'timers', now + shape.expires, 'expiry:0:' .. id) end
        end
        if shape.delay > 0 then
            for _, entry in ipairs(entries) do
                call('ZADD', P .. 'due', now + shape.delay, shape.lane .. '\0' .. shape.priority .. entry)
            end
            wake(shape.lane, 1) -- to sleep no longer than until then
        else
            line_up(shape.lane, shape.priority, entries)
        end
        table.insert(taken, ids)
    end
end

for _, ids in ipairs(taken) do list_recent(said, ids) end
return all and {} or answers
