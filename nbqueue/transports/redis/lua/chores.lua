-- What is due without anybody's asking: whoever comes first takes it over for a while, and does it.
--
-- KEYS[1]  the namespace, of which it uses: due, lanes, ready:*, idle:*, timers, alive, executors:*
-- ARGV[1]  seconds after which another may take over what was not done
-- ARGV[2]  1 if workers may be counted as lost
--
-- Returns {now, when the next scheduled task is due, when the next timer is, timers that are due,
-- {worker, {executor, …}} that were not heard of in time}; times are 0 for none.

local now, grace = clock(), tonumber(ARGV[1])
local due = line_up_due(now)
local timers = call('ZRANGEBYSCORE', P .. 'timers', '-inf', now, 'LIMIT', 0, 64)
for _, timer in ipairs(timers) do call('ZADD', P .. 'timers', now + grace, timer) end
local next = call('ZRANGE', P .. 'timers', 0, 0, 'WITHSCORES')
local lost = {}
if ARGV[2] == '1' then
    for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'alive', '-inf', now, 'LIMIT', 0, 10)) do
        call('ZADD', P .. 'alive', now + grace, worker)
        table.insert(lost, {worker, call('HKEYS', P .. 'executors:' .. worker)})
    end
end
return {string.format('%.6f', now), due, next[2] or '0', timers, lost}
