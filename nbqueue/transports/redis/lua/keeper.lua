-- Who sees to it that periodic tasks fire: one worker, as long as it says so again in time.
--
-- KEYS[1]  the namespace, of which it uses: keeper, firings, periodic
-- ARGV[1]  id of the worker
-- ARGV[2]  milliseconds for which it has the role, if nobody else has it
--
-- Returns {now, when the next firing is due (0 for none), {field, entry, …} of those that are due}; nothing if the
-- role is another's.

local holder = call('GET', P .. 'keeper')
if holder and holder ~= ARGV[1] then return {} end
local now = clock()
local next = call('ZRANGE', P .. 'firings', 0, 0, 'WITHSCORES')
if not next[2] then return {string.format('%.6f', now), '0', {}} end -- nothing to keep
call('SET', P .. 'keeper', ARGV[1], 'PX', ARGV[2])
local due = {}
for _, field in ipairs(call('ZRANGEBYSCORE', P .. 'firings', '-inf', now, 'LIMIT', 0, 64)) do
    local entry = call('HGET', P .. 'periodic', field)
    if entry then
        table.insert(due, field)
        table.insert(due, entry)
    else
        call('ZREM', P .. 'firings', field)
    end
end
return {string.format('%.6f', now), next[2], due}
