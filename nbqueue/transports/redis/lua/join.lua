-- A worker or one of its executors says Hello.
--
-- KEYS[1]  the namespace, of which it uses: alive, workers, executors:*, beats, held:*, lanes, tuned
-- ARGV[1]  id of the worker
-- ARGV[2]  seconds for which it counts as alive
-- ARGV[3]  id of the executor, "" for the worker itself
-- ARGV[4]  its Hello, sealed
--
-- Returns {{token, id, …} that the executor holds as far as is known, the lanes that there are}.

local worker, executor, now = ARGV[1], ARGV[3], clock()
local seen = tonumber(call('ZSCORE', P .. 'alive', worker) or 0)
call('ZADD', P .. 'alive', math.max(seen, now + ARGV[2]), worker)
if executor == '' then
    call('HSET', P .. 'workers', worker, ARGV[4])
    call('EXPIRE', P .. 'tuned', 2592000)
    return {{}, {}}
end
call('HSET', P .. 'executors:' .. worker, executor, ARGV[4])
call('ZADD', P .. 'beats', now, executor)
return {call('HGETALL', P .. 'held:' .. executor), call('HKEYS', P .. 'lanes')}
