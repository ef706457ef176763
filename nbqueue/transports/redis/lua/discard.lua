-- Take out a task that is not one of ours.
--
-- KEYS[1]  the namespace, of which it uses: tasks, standing, watchers, held:*, running
-- ARGV[1]  id
-- ARGV[2]  its executor, "" for none
-- ARGV[3]  the lease token
-- ARGV[4]  its queue, as its lane says

local id, executor = ARGV[1], ARGV[2]
call('HDEL', P .. 'tasks', id)
call('HDEL', P .. 'standing', id)
call('HDEL', P .. 'watchers', id)
if executor ~= '' and call('HDEL', P .. 'held:' .. executor, ARGV[3]) == 1 then count('running', ARGV[4], -1) end
return 1
