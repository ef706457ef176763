-- Take steps of workflows in; one that is known already is left as it is.
--
-- KEYS[1]   the namespace, of which it uses: tasks, result:*, blob:*, references, queued, recent, recent:*, and
--           what workflow.lua does
-- ARGV[1]   {max_queued, recent, expires, keep, notebook, force, seal, shapes = {{queue, lane, priority, blobs,
--           delay, expires, on}, …}}: as submit.lua has it; `keep`: milliseconds that results are kept, 0 for
--           ever; `force`: one that waits for a task that is not there is taken, too, and will end for that;
--           `seal`: bytes of a signature
-- ARGV[2…]  of each step: the number of its shape, its id, its entry, its envelope, {ids that it waits for}
--
-- Returns {answers, ids of steps to be looked at}; of each step 0 (kept), 1 (known), 2 (its queue is full), the key
-- of a blob that is not here, or {the id of a task before it that is not}.

local said = cmsgpack.unpack(ARGV[1])
local flow = workflow(clock(), said.keep)
local answers, ids = {}, {}
for i = 2, #ARGV, 5 do
    local shape, id, after = said.shapes[tonumber(ARGV[i])], ARGV[i + 1], cmsgpack.unpack(ARGV[i + 4])
    local missing, answer
    for _, blob in ipairs(shape.blobs) do
        if not is_there(blob) then missing = blob end
    end
    local unknown = not said.force and flow.unknown(after)
    if call('EXISTS', P .. 'result:' .. id) == 1 or call('HEXISTS', P .. 'tasks', id) == 1 then
        answer = 1
    elseif missing then
        answer = missing
    elseif unknown then
        answer = {unknown}
    elseif tonumber(call('HGET', P .. 'queued', shape.queue) or 0) >= said.max_queued then
        answer = 2
    else
        answer = 0
        call('HSET', P .. 'tasks', id, ARGV[i + 3])
        count('queued', shape.queue, 1)
        for _, blob in ipairs(shape.blobs) do refer(blob, 1) end
        table.insert(ids, id)
        flow.join(id, {
            queue = shape.queue, lane = shape.lane, priority = shape.priority, entry = ARGV[i + 2],
            delay = shape.delay, expires = shape.expires, on = shape.on, after = after, by = '', bad = '', due = 0,
        }, said.seal)
    end
    table.insert(answers, answer)
end
list_recent(said, ids)
return {answers, flow.finish()}
