-- Which of these tasks mention an id: somebody has to look whether they are its children.
--
-- KEYS[1]   the namespace, of which it uses: tasks, result:*
-- ARGV[1]   the id
-- ARGV[2…]  ids of tasks
--
-- Returns their ids.  Of a result its end is read: what it was made of stands there, behind its value.

local found = {}
for i = 2, #ARGV do
    local text = call('HGET', P .. 'tasks', ARGV[i]) or call('GETRANGE', P .. 'result:' .. ARGV[i], -65536, -1)
    if string.find(text, ARGV[1], 1, true) then table.insert(found, ARGV[i]) end
end
return found
