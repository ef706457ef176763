-- A client reads the items of a task as they are yielded, or does not any more.
--
-- KEYS[1]  the namespace, of which it uses: tasks, standing, wishes:*
-- ARGV[1]  {id, client, position, upto, lease}: as in `messages.Stream`; a wish is good for `lease` seconds
--
-- Returns {executor, token, start, upto} of the run if there is one, and how far it may go: as far as the
-- slowest of those who read; else {}.

local said, now = cmsgpack.unpack(ARGV[1]), clock()
local wishes = P .. 'wishes:' .. said.id
if call('HEXISTS', P .. 'tasks', said.id) == 0 then
    call('DEL', wishes)
    return {}
end
if said.upto < 0 then
    call('HDEL', wishes, said.client)
else
    call('HSET', wishes, said.client, cmsgpack.pack({said.position, said.upto, now}))
    call('EXPIRE', wishes, math.ceil(said.lease) + 1)
end
local start, upto
local all = call('HGETALL', wishes)
for i = 1, #all, 2 do
    local read, wish = pcall(cmsgpack.unpack, all[i + 1])
    if read and type(wish) == 'table' and #wish == 3 and wish[3] + said.lease >= now then
        start = math.min(start or wish[1], wish[1])
        upto = math.min(upto or wish[2], wish[2])
    else
        call('HDEL', wishes, all[i])
    end
end
local packed = call('HGET', P .. 'standing', said.id)
local standing = packed and standing_of(packed)
if not standing or standing[1] == 0 then return {} end
return {standing[2], string.format('%.0f', standing[1]), start or 0, upto or -1}
