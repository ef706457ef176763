-- Take tasks in; one that is known already is left as it is.
--
-- KEYS[1]   the namespace, of which it uses: tasks, result:*, blob:*, references, queued, lanes, ready:*, idle:*,
--           due, timers, recent, recent:*
-- ARGV[1]   {max_queued, recent, expires, notebook, shapes = {{queue, lane, priority, blobs, delay, expires}, …}}:
--           what many tasks have in common is said once; `recent` ids are listed, for `expires` seconds (0: for
--           ever); a shape's `expires` is -1 for never
-- ARGV[2…]  of each task: the number of its shape, its id, its entry, its envelope
--
-- Returns of each task 0 (kept), 1 (known), 2 (its queue is full), or the key of a blob that is not here.

local said = cmsgpack.unpack(ARGV[1])
local now = clock()
for _, shape in ipairs(said.shapes) do
    shape.entries = {}
    for _, blob in ipairs(shape.blobs) do
        if call('EXISTS', P .. 'blob:' .. blob) == 0 then shape.missing = blob end
    end
    shape.room = said.max_queued - (call('HGET', P .. 'queued', shape.queue) or 0)
end

local answers, ids = {}, {}
for i = 2, #ARGV, 4 do
    local shape, id, answer = said.shapes[tonumber(ARGV[i])], ARGV[i + 1], 0
    if call('EXISTS', P .. 'result:' .. id) == 1 then
        answer = 1
    elseif shape.missing or #shape.entries >= shape.room then
        answer = call('HEXISTS', P .. 'tasks', id) == 1 and 1 or shape.missing or 2
    elseif call('HSETNX', P .. 'tasks', id, ARGV[i + 3]) == 0 then
        answer = 1
    else
        table.insert(shape.entries, ARGV[i + 2])
        table.insert(ids, id)
        if shape.expires >= 0 then call('ZADD', P .. 'timers', now + shape.expires, 'expiry:0:' .. id) end
    end
    table.insert(answers, answer)
end

for _, shape in ipairs(said.shapes) do
    local number = #shape.entries
    if number > 0 then
        count('queued', shape.queue, number)
        for _, blob in ipairs(shape.blobs) do refer(blob, number) end
        if shape.delay > 0 then
            for _, entry in ipairs(shape.entries) do
                call('ZADD', P .. 'due', now + shape.delay, shape.lane .. '\0' .. shape.priority .. entry)
            end
            wake(shape.lane, 1) -- to sleep no longer than until then
        else
            line_up(shape.lane, shape.priority, shape.entries)
        end
    end
end

list_recent(said, ids)
return answers
