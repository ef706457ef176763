-- An executor is alive.
--
-- KEYS[1]  the namespace, of which it uses: executors:*, beats, held:*
-- ARGV[1]  id of the worker
-- ARGV[2]  id of the executor
--
-- Returns {known, {token, id, …} that it holds}; `known` is 0 if it has to say Hello again.

if call('HEXISTS', P .. 'executors:' .. ARGV[1], ARGV[2]) == 0 then return {0, {}} end
call('ZADD', P .. 'beats', clock(), ARGV[2])
return {1, call('HGETALL', P .. 'held:' .. ARGV[2])}
