-- A run has yielded items: pass them on to those who read them and have not had them.
--
-- KEYS[1]  the namespace, of which it uses: held:*, wishes:*
-- ARGV[1]  executor
-- ARGV[2]  id of the task
-- ARGV[3]  the lease token: they count only while it is the task's
-- ARGV[4]  number of the last item
-- ARGV[5]  the items, sealed

if call('HGET', P .. 'held:' .. ARGV[1], ARGV[3]) ~= ARGV[2] then return 0 end
local all, last, framed = call('HGETALL', P .. 'wishes:' .. ARGV[2]), tonumber(ARGV[4]), frame('e' .. ARGV[5])
for i = 1, #all, 2 do
    local read, wish = pcall(cmsgpack.unpack, all[i + 1])
    if read and type(wish) == 'table' and tonumber(wish[1]) and wish[1] <= last then
        call('PUBLISH', P .. 'c:' .. all[i], framed)
    end
end
return 1
