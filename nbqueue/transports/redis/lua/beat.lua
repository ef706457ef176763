-- A worker is alive, with these executors.
--
-- KEYS[1]   the namespace, of which it uses: alive, workers, executors:*, beats, loads
-- ARGV[1]   id of the worker
-- ARGV[2]   seconds for which it counts as alive
-- ARGV[3]   what its heartbeat says of its machine, sealed
-- ARGV[4…]  ids of its executors
--
-- Returns {known, executors that neither it knows of nor anybody has heard of for that long}; `known` is 0 if the
-- worker has to say Hello again.

local worker, lease, now = ARGV[1], tonumber(ARGV[2]), clock()
if call('HEXISTS', P .. 'workers', worker) == 0 then return {0, {}} end
call('ZADD', P .. 'alive', now + lease, worker)
call('HSET', P .. 'loads', worker, ARGV[3])
local alive, lost = {}, {}
for i = 4, #ARGV do alive[ARGV[i]] = true end
for _, executor in ipairs(call('HKEYS', P .. 'executors:' .. worker)) do
    if not alive[executor] then
        local seen = tonumber(call('ZSCORE', P .. 'beats', executor) or 0)
        if seen + lease < now then table.insert(lost, executor) end
    end
end
return {1, lost}
