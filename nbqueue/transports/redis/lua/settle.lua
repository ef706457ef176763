-- Runs have ended: keep their outcomes, each if its lease is still the task's, and tell who is to be told.
--
-- KEYS[1]   the namespace, of which it uses: held:*, tasks, standing, watchers, result:*, queued, running,
--           references, blob:*, output:*, live:*
-- ARGV[1]   {executor, expires, shapes = {{number, queue, sender, blobs, traces}, …}}: what many have in common is
--           said once; `expires` is in milliseconds, 0 for never; `traces`: there may be output or progress
-- ARGV[2…]  of each run, those of the first shape first: its token, the task's id, its result
--
-- Returns how many were accepted.  The first write frees room, so that outcomes find some when Redis is full.

local said = cmsgpack.unpack(ARGV[1])
local held = P .. 'held:' .. said.executor
local tokens, ids = {}, {}
for i = 2, #ARGV, 3 do
    tokens[#tokens + 1] = ARGV[i]
    ids[#ids + 1] = ARGV[i + 1]
end
local owners = call('HMGET', held, unpack(tokens))
call('HDEL', held, unpack(tokens))

local accepted = {}
for i, id in ipairs(ids) do
    if owners[i] == id then accepted[#accepted + 1] = id end
end
if #accepted == 0 then return 0 end
local watchers, watched = call('HMGET', P .. 'watchers', unpack(accepted)), {}
for i, watching in ipairs(watchers) do
    if watching then watched[accepted[i]] = watching end
end
call('HDEL', P .. 'tasks', unpack(accepted))
call('HDEL', P .. 'standing', unpack(accepted))

local news, i, prefix = {}, 0, P .. 'result:'
for _, shape in ipairs(said.shapes) do
    local number, sender = 0, shape.sender
    news[sender] = news[sender] or {}
    local told = news[sender]
    for _ = 1, shape.number do
        i = i + 1
        local id = ids[i]
        if owners[i] == id then
            local result = ARGV[3 * i + 1]
            number = number + 1
            if said.expires > 0 then
                call('SET', prefix .. id, result, 'PX', said.expires)
            else
                call('SET', prefix .. id, result)
            end
            if shape.traces then
                call('DEL', P .. 'live:' .. id)
                if said.expires > 0 then call('PEXPIRE', P .. 'output:' .. id, said.expires) end
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
return #accepted
