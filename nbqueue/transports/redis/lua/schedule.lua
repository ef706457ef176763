-- Keep an entry of an application's schedule, in place of the one of its name; or drop it.
--
-- KEYS[1]   the namespace, of which it uses: periodic, firings, references, blob:*
-- ARGV[1]   {field, due, needs = {blob, …}, needed = {blob, …}}: what its task is made of, and what that of the
--           one before was; `due` is "" for never
-- ARGV[2]   how it was read, "" for nothing
-- ARGV[3]   how it is from now on, "" to drop it
--
-- Returns 1, 0 if it is another one by now, or the key of a blob that is not here.

local said = cmsgpack.unpack(ARGV[1])
if (call('HGET', P .. 'periodic', said.field) or '') ~= ARGV[2] then return 0 end
for _, blob in ipairs(said.needs) do
    if call('EXISTS', P .. 'blob:' .. blob) == 0 then return blob end
end
for _, blob in ipairs(said.needs) do refer(blob, 1) end
for _, blob in ipairs(said.needed) do refer(blob, -1) end
if ARGV[3] == '' then
    call('HDEL', P .. 'periodic', said.field)
else
    call('HSET', P .. 'periodic', said.field, ARGV[3])
end
if said.due ~= '' then
    call('ZADD', P .. 'firings', said.due, said.field)
else
    call('ZREM', P .. 'firings', said.field)
end
call('PUBLISH', P .. 'firings', '') -- the keeper sleeps until the next one that it knows of
return 1
