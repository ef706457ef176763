-- Delete records of finished tasks; of others, tell the client no more.
--
-- KEYS[1]   the namespace, of which it uses: tasks, watchers, result:*, output:*, value:*, after:*
-- ARGV[1]   id of the client
-- ARGV[2…]  ids

for i = 2, #ARGV do
    local id = ARGV[i]
    if call('HEXISTS', P .. 'tasks', id) == 0 and call('EXISTS', P .. 'after:' .. id) == 1 then
        call('HSET', P .. 'after:' .. id, '', '') -- as soon as no step needs it
    elseif call('HEXISTS', P .. 'tasks', id) == 0 then
        call('UNLINK', P .. 'result:' .. id, P .. 'output:' .. id, P .. 'value:' .. id)
    else
        local left = {}
        for watcher in string.gmatch(call('HGET', P .. 'watchers', id) or '', '%S+') do
            if watcher ~= ARGV[1] then table.insert(left, watcher) end
        end
        if #left == 0 then
            call('HDEL', P .. 'watchers', id)
        else
            call('HSET', P .. 'watchers', id, table.concat(left, ' '))
        end
    end
end
return 1
