-- A periodic task fires: write down how far it has come, and submit its firings, unless somebody else did.
--
-- KEYS[1]   the namespace, of which it uses: periodic, firings, and what `submit.lua` uses
-- ARGV[1]   the entry's field in `periodic`
-- ARGV[2]   how it was read
-- ARGV[3]   how it is from now on
-- ARGV[4]   when it fires next, "" for never
-- ARGV[5…]  the arguments of `submit.lua`, whose text follows this
--
-- Returns 0 if it is another one by now; else what `submit.lua` does.

if call('HGET', P .. 'periodic', ARGV[1]) ~= ARGV[2] then return 0 end
call('HSET', P .. 'periodic', ARGV[1], ARGV[3])
if ARGV[4] ~= '' then
    call('ZADD', P .. 'firings', ARGV[4], ARGV[1])
else
    call('ZREM', P .. 'firings', ARGV[1])
end
local ARGV = {unpack(ARGV, 5)}

