-- What a step takes from those before it.
--
-- KEYS[1]   the namespace, of which it uses: result:*, call:*
-- ARGV[1]   bytes that may be returned, beside the first result
-- ARGV[2]   id of a task of which the call is wanted, "" for none
-- ARGV[3…]  ids
--
-- Returns {the call's envelope or false, {result, …} of the first ids, up to one that is not there or too much}.

local found, bytes = {}, 0
for i = 3, #ARGV do
    local key = P .. 'result:' .. ARGV[i]
    bytes = bytes + call('STRLEN', key)
    if i > 3 and bytes > tonumber(ARGV[1]) then break end
    local result = call('GET', key)
    if not result then break end
    table.insert(found, result)
end
local read, kept = pcall(cmsgpack.unpack, ARGV[2] ~= '' and call('GET', P .. 'call:' .. ARGV[2]) or '')
return {read and type(kept) == 'table' and type(kept[1]) == 'string' and kept[1], found}
