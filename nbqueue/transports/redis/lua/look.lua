-- How tasks stand.
--
-- KEYS[1]   the namespace, of which it uses: tasks, standing, result:*, live:*, output:*, watchers,
--           steps, left
-- ARGV[1]   {watcher, traces}: who is to be told of them from now on, "" for nobody; whether to read what they
--           have told too
-- ARGV[2…]  ids
--
-- Returns of each, or of the first ones if they are more than 8 MiB (Redis hangs up on those who listen to
-- channels and are sent more than 32 MB at once), {envelope, standing, result, {output}, {live},
-- turn, whether it waits for others}, with false for what there is not.

local said = cmsgpack.unpack(ARGV[1])
local found, bytes = {}, 0
for i = 2, #ARGV do
    local id = ARGV[i]
    local envelope = call('HGET', P .. 'tasks', id)
    local one = {envelope, call('HGET', P .. 'standing', id), call('GET', P .. 'result:' .. id), {}, {}, false, 0}
    if envelope then
        one[6] = call('HGET', P .. 'steps', id)
        if one[6] then one[7] = call('HEXISTS', P .. 'left', id) end
    end
    if said.traces and (envelope or one[3]) then
        one[4] = call('LRANGE', P .. 'output:' .. id, 0, -1)
        one[5] = call('HVALS', P .. 'live:' .. id)
    end
    if said.watcher ~= '' and envelope then
        local watching = call('HGET', P .. 'watchers', id) or ''
        if not string.find(' ' .. watching .. ' ', ' ' .. said.watcher .. ' ', 1, true) then
            call('HSET', P .. 'watchers', id, watching == '' and said.watcher or watching .. ' ' .. said.watcher)
        end
    end
    table.insert(found, one)
    bytes = bytes + #(one[1] or '') + #(one[3] or '') + #(one[6] or '')
    for _, piece in ipairs(one[4]) do bytes = bytes + #piece end
    if bytes > 8388608 then break end
end
return found
