-- An executor is gone for good, and holds nothing that is still to be dealt with; or a worker, with no executor.
--
-- KEYS[1]   the namespace, of which it uses: executors:*, held:*, beats, idle:*, alive, workers, loads,
--           silent, total:*, occupied:*,
--           awaits:*, keeper, lanes, token
-- ARGV[1]   id of the worker
-- ARGV[2]   id of the executor, "" for the worker itself
-- ARGV[3…]  lanes in which it may be lined up
--
-- Returns 0 if it still has something that another has to deal with first.

local worker, executor = ARGV[1], ARGV[2]
if executor ~= '' then
    for _, id in ipairs(call('HVALS', P .. 'held:' .. executor)) do
        if id ~= '' then return 0 end
    end
    call('DEL', P .. 'held:' .. executor)
    call('HDEL', P .. 'executors:' .. worker, executor)
    call('ZREM', P .. 'beats', executor)
    for i = 3, #ARGV do call('ZREM', P .. 'idle:' .. ARGV[i], executor) end
    return 1
end
if call('EXISTS', P .. 'executors:' .. worker) == 1 then return 0 end
call('ZREM', P .. 'alive', worker)
call('HDEL', P .. 'workers', worker)
call('HDEL', P .. 'loads', worker)
if call('GET', P .. 'keeper') == worker then -- another worker may have the role at once
    call('DEL', P .. 'keeper')
    call('PUBLISH', P .. 'firings', '')
end
call('SREM', P .. 'silent', worker)
call('DEL', P .. 'total:' .. worker, P .. 'occupied:' .. worker, P .. 'awaits:' .. worker)
if call('EXISTS', P .. 'alive') == 0 then -- the last one: nobody waits for any lane
    for _, lane in ipairs(call('HKEYS', P .. 'lanes')) do
        call('DEL', P .. 'idle:' .. lane)
        if tonumber(call('HGET', P .. 'lanes', lane)) <= 0 then call('HDEL', P .. 'lanes', lane) end
    end
    call('EXPIRE', P .. 'token', 86400) -- tokens grow with the time even without it
end
return 1
