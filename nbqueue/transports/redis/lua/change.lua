-- Bring one task from where it stands to where it is to stand, if it still stands there.
--
-- KEYS[1]   the namespace, of which it uses: tasks, standing, held:*, due, lanes, ready:*, idle:*, running, queued,
--           references, blob:*, watchers, result:*, output:*, live:*, call:*, timers, and what workflow.lua does
-- ARGV[1]   {id, to, queue, into, lane, priority, entry, sender, executor, token, release, due, blobs, dropped,
--           added, expires, again, last, timers = {{at, name}, …}, state, own, turn}
--           to        "ready", "due", "waiting", "done", or "" to stay
--           into      the queue that it is in from now on
--           last      it lines up after all others, not before them
--           executor  that has the lease, "" if none has
--           dropped, added  blobs that it refers to no longer, or from now on, if there is another envelope
--           release   it no longer holds the lease; else that is marked as void until it is given back
--           expires   milliseconds until the result goes, 0 for never
--           again     what those who watch are told is kept for those who ask: why it is to run again
--           state     in which it ends, by itself if `own`, else for the end of another
--           turn      of what it waits for from now on: see workflow.lua
-- ARGV[2]   how it stands, as it was read: "" for a task that was never given out
-- ARGV[3]   how it is to stand, "" for done
-- ARGV[4]   its result, "" for none
-- ARGV[5]   what those who watch are told, "" for nothing
-- ARGV[6]   its envelope, if its next run is another call; else ""
-- ARGV[7…]  channel, message: what others are told
--
-- Returns {1, ids of steps that somebody has to look at}, or 0 if it stands otherwise by now.

local said = cmsgpack.unpack(ARGV[1])
local id = said.id
if (call('HGET', P .. 'standing', id) or '') ~= ARGV[2] then return 0 end
if call('HEXISTS', P .. 'tasks', id) == 0 then return 0 end

local flow = (said.to == 'waiting' or call('EXISTS', P .. 'steps') == 1) and workflow(clock(), said.expires)
if said.to ~= '' then
    if said.executor ~= '' then
        local held = P .. 'held:' .. said.executor
        if said.release then
            call('HDEL', held, said.token)
        elseif call('HEXISTS', held, said.token) == 1 then
            call('HSET', held, said.token, '')
        end
        count('running', said.queue, -1)
    elseif call('HDEL', P .. 'left', said.id) == 1 then
        count('waiting', said.queue, -1)
    elseif call('ZREM', P .. 'due', said.lane .. '\0' .. said.priority .. said.entry) == 0 then
        withdraw(said.lane, 1)
    end
end

local watching = call('HGET', P .. 'watchers', id)
if said.to == 'done' then
    local envelope = said.state == 'FAILURE' and call('HGET', P .. 'tasks', id)
    call('HDEL', P .. 'tasks', id)
    call('HDEL', P .. 'standing', id)
    call('HDEL', P .. 'watchers', id)
    call('DEL', P .. 'live:' .. id)
    count('queued', said.queue, -1)
    for _, blob in ipairs(said.blobs) do refer(blob, -1) end
    if said.expires > 0 then
        call('SET', P .. 'result:' .. id, ARGV[4], 'PX', said.expires)
        call('PEXPIRE', P .. 'output:' .. id, said.expires)
    else
        call('SET', P .. 'result:' .. id, ARGV[4])
    end
    keep_call(id, envelope)
    if flow then
        flow.leave(id)
        flow.ended(id, said.state, said.own, envelope, said.blobs)
    end
    tell(said.sender, watching, frame('r' .. ARGV[4]))
else
    call('HSET', P .. 'standing', id, ARGV[3])
    if ARGV[6] ~= '' then
        call('HSET', P .. 'tasks', id, ARGV[6])
        for _, blob in ipairs(said.added) do refer(blob, 1) end
        for _, blob in ipairs(said.dropped) do refer(blob, -1) end
    end
    if said.into ~= said.queue then
        count('queued', said.queue, -1)
        count('queued', said.into, 1)
    end
    if said.to ~= '' then -- another run will report anew
        call('DEL', P .. 'live:' .. id)
        if said.again then call('HSET', P .. 'live:' .. id, 'again', ARGV[5]) end
    end
    if said.to == 'ready' then
        line_up(said.lane, said.priority, {said.entry}, not said.last)
    elseif said.to == 'due' then
        call('ZADD', P .. 'due', said.due, said.lane .. '\0' .. said.priority .. said.entry)
        wake(said.lane, 1)
    elseif said.to == 'waiting' then
        flow.leave(id)
        flow.join(id, said.turn, 0)
    end
end
for _, timer in ipairs(said.timers) do call('ZADD', P .. 'timers', timer[1], timer[2]) end
if ARGV[5] ~= '' then tell(said.sender, watching, frame('e' .. ARGV[5])) end
for i = 7, #ARGV, 2 do call('PUBLISH', P .. ARGV[i], ARGV[i + 1]) end
local look = flow and flow.finish() or {}
table.insert(look, 1, 1)
return look
