-- Runs have ended: keep their outcomes, each if its lease is still the task's, and tell who is to be told.
--
-- KEYS[1]   the namespace, of which it uses: held:*, tasks, standing, watchers, result:*, queued, running,
--           references, blob:*, output:*, live:*, call:*, and what workflow.lua does
-- ARGV[1]   {executor, expires, tokens, ids, shapes = {{number, queue, sender, blobs, traces, state}, …}}: of each
--           run its token and its task's id, those of the first shape first, and what many have in common;
--           `expires` is in milliseconds, 0 for never; `traces`: there may be output or progress
-- ARGV[2…]  of each run: its result
--
-- Returns the ids of steps that somebody has to look at.  The first write frees room, so that outcomes find some
-- when Redis is full.

local said = cmsgpack.unpack(ARGV[1])
local held, tokens, ids = P .. 'held:' .. said.executor, said.tokens, said.ids
local owners = call('HMGET', held, unpack(tokens))
call('HDEL', held, unpack(tokens))

local accepted = {}
for i, id in ipairs(ids) do
    if owners[i] == id then accepted[#accepted + 1] = id end
end
if #accepted == 0 then return {} end
local watched = {}
if call('EXISTS', P .. 'watchers') == 1 then
    for i, watching in ipairs(call('HMGET', P .. 'watchers', unpack(accepted))) do
        watched[accepted[i]] = watching or nil
    end
end
-- the usual task has no part in a workflow
local now = clock()
local flow = call('EXISTS', P .. 'steps') == 1 and workflow(now, said.expires)
local calls, last = {}, 0 -- of those that failed: an errback is told of them
for _, shape in ipairs(said.shapes) do
    if shape.state == 'FAILURE' then
        for i = last + 1, last + shape.number do
            if owners[i] == ids[i] then calls[i] = call('HGET', P .. 'tasks', ids[i]) end
        end
    end
    last = last + shape.number
end
call('HDEL', P .. 'tasks', unpack(accepted))
call('HDEL', P .. 'standing', unpack(accepted))

local news, i, prefix = {}, 0, P .. 'result:'
local till = string.format('%.0f', now * 1000 + said.expires)
for _, shape in ipairs(said.shapes) do
    local number, sender = 0, shape.sender
    news[sender] = news[sender] or {}
    local told = news[sender]
    for _ = 1, shape.number do
        i = i + 1
        local id = ids[i]
        if owners[i] == id then
            local result = ARGV[i + 1]
            number = number + 1
            if said.expires > 0 then
                call('SET', prefix .. id, result, 'PXAT', till)
            else
                call('SET', prefix .. id, result)
            end
            if shape.traces then
                call('DEL', P .. 'live:' .. id)
                if said.expires > 0 then call('PEXPIRE', P .. 'output:' .. id, said.expires) end
            end
            keep_call(id, calls[i])
            if flow then
                flow.leave(id)
                flow.ended(id, shape.state, true, calls[i], shape.blobs)
            end
            if watched[id] then
                call('HDEL', P .. 'watchers', id)
                tell(sender, watched[id], frame('r' .. result))
            else
                told[#told + 1] = struct.pack('>I4', #result + 1)
                told[#told + 1] = 'r'
                told[#told + 1] = result
            end
        end
    end
    if number > 0 then
        count('queued', shape.queue, -number)
        count('running', shape.queue, -number)
        for _, blob in ipairs(shape.blobs) do refer(blob, -number) end
    end
end
for sender, told in pairs(news) do
    if #told > 0 then call('PUBLISH', P .. 'c:' .. sender, table.concat(told)) end
end
return flow and flow.finish() or {}
