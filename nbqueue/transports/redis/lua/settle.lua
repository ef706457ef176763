-- Runs have ended: keep their outcomes, each if its lease is still the task's, and tell who is to be told.
--
-- KEYS[1]   the namespace, of which it uses: held:*, tasks, standing, watchers, result:*, queued, running,
--           references, blob:*, output:*, live:*, and what workflow.lua does
-- ARGV[1]   {executor, expires, shapes = {{queue, sender, blobs, traces, state}, …}}: what many have in common
--           is said once; `expires` is in milliseconds, 0 for never; `traces`: there may be output or progress
-- ARGV[2…]  of each run: the number of its shape, its token, the task's id, its result
--
-- Returns the ids of steps that somebody has to look at.  The first write frees room, so that outcomes find some when Redis is full.

local said = cmsgpack.unpack(ARGV[1])
local held = P .. 'held:' .. said.executor
local tokens, ids = {}, {}
for i = 2, #ARGV, 4 do
    table.insert(tokens, ARGV[i + 1])
    table.insert(ids, ARGV[i + 2])
end
local owners = call('HMGET', held, unpack(tokens))
call('HDEL', held, unpack(tokens))

local accepted = {}
for i, id in ipairs(ids) do
    if owners[i] == id then table.insert(accepted, id) end
end
if #accepted == 0 then return {} end
local watchers = {}
for i, watching in ipairs(call('HMGET', P .. 'watchers', unpack(accepted))) do watchers[accepted[i]] = watching end
-- the usual task has no part in a workflow
local flow = call('EXISTS', P .. 'steps') == 1 and workflow(clock(), said.expires)
local calls = {} -- of those that failed: an errback is told of them
for i, id in ipairs(flow and ids or {}) do
    local failed = said.shapes[tonumber(ARGV[2 + (i - 1) * 4])].state == 'FAILURE'
    if failed and owners[i] == id then calls[i] = call('HGET', P .. 'tasks', id) end
end
call('HDEL', P .. 'tasks', unpack(accepted))
call('HDEL', P .. 'standing', unpack(accepted))

local news = {}
for i, id in ipairs(ids) do
    if owners[i] == id then
        local at = 2 + (i - 1) * 4
        local shape, result = said.shapes[tonumber(ARGV[at])], ARGV[at + 3]
        shape.number = (shape.number or 0) + 1
        if said.expires > 0 then
            call('SET', P .. 'result:' .. id, result, 'PX', said.expires)
        else
            call('SET', P .. 'result:' .. id, result)
        end
        if shape.traces then
            call('DEL', P .. 'live:' .. id)
            if said.expires > 0 then call('PEXPIRE', P .. 'output:' .. id, said.expires) end
        end
        if flow then
            flow.leave(id)
            flow.ended(id, shape.state, true, calls[i])
        end
        local framed = frame('r' .. result)
        local watching = watchers[id]
        if watching then
            call('HDEL', P .. 'watchers', id)
            tell(shape.sender, watching, framed)
        else
            news[shape.sender] = news[shape.sender] or {}
            table.insert(news[shape.sender], framed)
        end
    end
end
for _, shape in ipairs(said.shapes) do
    if shape.number then
        count('queued', shape.queue, -shape.number)
        count('running', shape.queue, -shape.number)
        for _, blob in ipairs(shape.blobs) do refer(blob, -shape.number) end
    end
end
for sender, framed in pairs(news) do call('PUBLISH', P .. 'c:' .. sender, table.concat(framed)) end
return flow and flow.finish() or {}
