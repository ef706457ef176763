-- What waits for tasks that end; put before the scripts by which tasks come, end or are replaced, after what all
-- share.
--
-- A step waits as long as `left` has a count of it: of those before it that have not ended as it wants.  One
-- that ends otherwise is never counted off, so the step cannot run by counting: somebody has to look at it, and
-- end it.  Those that had ended when the step came, and not in success, count as one, which a look takes off if
-- they have ended as it wants.  Whoever called the script looks at once; a timer sees to it if he dies.
--
-- `expires`: milliseconds that results are kept, 0 for ever.  Uses: steps, left, waiting, after:*, call:*,
-- result:*, value:*, output:*, tasks, timers, due, lanes, ready:*, idle:*

local function workflow(now, expires)
    local ready, look = {}, {}

    local function turn_of(id)
        local read, turn = pcall(cmsgpack.unpack, call('HGET', P .. 'steps', id) or '')
        if read and type(turn) == 'table' and type(turn.after) == 'table' and type(turn.lane) == 'string'
            and type(turn.delay) == 'number' and type(turn.expires) == 'number' then
            return turn
        end
        return false
    end

    local function keep(id, turn) call('HSET', P .. 'steps', id, cmsgpack.pack(turn)) end

    -- Somebody has to look at it: "join" to see how those before it have ended, "step" to end it.
    local function ask_for_look(kind, id)
        call('ZADD', P .. 'timers', now + 1, kind .. ':0:' .. id)
        table.insert(look, id)
    end

    local function doom(id, turn, before)
        turn.bad = before
        keep(id, turn)
        ask_for_look('step', id)
    end

    -- No errback that is here needs to know any more with what a task was called.
    local function drop_call(id)
        local read, kept = pcall(cmsgpack.unpack, call('GET', P .. 'call:' .. id) or '')
        if call('DEL', P .. 'call:' .. id) == 0 or not read or type(kept) ~= 'table' then return end
        for _, blob in ipairs(type(kept[2]) == 'table' and kept[2] or {}) do refer(blob, -1) end
        keep_call(id, type(kept[1]) == 'string' and kept[1]) -- for a while: another may still be on its way
    end

    -- It waits for nobody any more; its times count from now.
    local function go(id)
        call('HDEL', P .. 'left', id)
        local turn = turn_of(id)
        if not turn then return end
        count('waiting', turn.queue, -1)
        if turn.expires >= 0 then call('ZADD', P .. 'timers', now + turn.expires, 'expiry:0:' .. id) end
        if turn.expires >= 0 or turn.delay > 0 then
            turn.due = now + turn.delay
            keep(id, turn)
        end
        local place = turn.lane .. '\0' .. turn.priority
        if turn.delay > 0 then
            call('ZADD', P .. 'due', turn.due, place .. turn.entry)
            wake(turn.lane, 1)
            return
        end
        ready[place] = ready[place] or {turn.lane, turn.priority, {}}
        table.insert(ready[place][3], turn.entry)
    end

    local flow = {}

    -- The first of these that there is no record of.
    function flow.unknown(ids)
        for _, id in ipairs(ids) do
            if call('HEXISTS', P .. 'tasks', id) == 0 and call('EXISTS', P .. 'result:' .. id) == 0 then
                return id
            end
        end
    end

    -- Whether a result is one of success, of which `seal` bytes are the signature: a `records.Kept` begins with
    -- an outcome, and that with id, token and state.  What is unsigned here is signed for whoever takes the value.
    local function has_succeeded(id, seal)
        local head = call('GETRANGE', P .. 'result:' .. id, 0, seal + 511)
        local kept, outcome = string.byte(head, seal + 1, seal + 2)
        if not outcome or math.floor(kept / 16) ~= 9 or math.floor(outcome / 16) ~= 9 then return false end
        local read, _, _, _, state = pcall(cmsgpack.unpack_limit, head, 3, seal + 2)
        return read and state == 'SUCCESS'
    end

    -- A step is there, and waits; `seal`: bytes of a signature.
    function flow.join(id, turn, seal)
        local left, seen = 0, false
        for _, before in ipairs(turn.after) do
            if call('HSET', P .. 'after:' .. before, id, turn.on) == 1 then -- else it was named twice
                if call('EXISTS', P .. 'result:' .. before) == 1 then
                    call('PERSIST', P .. 'result:' .. before)
                    call('PERSIST', P .. 'value:' .. before)
                    if turn.on == 'FAILURE' then call('PERSIST', P .. 'call:' .. before) end
                    seen = seen or not (turn.on == 'SUCCESS' and has_succeeded(before, seal))
                else
                    left = left + 1
                end
            end
        end
        if seen then left = left + 1 end
        call('HSET', P .. 'left', id, left)
        keep(id, turn)
        count('waiting', turn.queue, 1)
        local unknown = flow.unknown(turn.after)
        if unknown then
            doom(id, turn, unknown)
        elseif left == 0 then
            go(id)
        elseif seen then
            ask_for_look('join', id)
        end
    end

    -- Those that had ended when it came have all ended as it wants.
    function flow.confirm(id)
        if call('ZREM', P .. 'timers', 'join:0:' .. id) == 0 or call('HEXISTS', P .. 'left', id) == 0 then return end
        if call('HINCRBY', P .. 'left', id, -1) <= 0 then go(id) end
        return true
    end

    -- A task has ended, by itself (`own`) or for the end of another; `envelope`: what an errback is to be told
    -- of it, with the `blobs` that it refers to.
    function flow.ended(id, state, own, envelope, blobs)
        local steps = call('HGETALL', P .. 'after:' .. id)
        if #steps == 0 then return end
        call('PERSIST', P .. 'result:' .. id)
        call('PERSIST', P .. 'value:' .. id)
        local wanted = (state == 'SUCCESS' or (state == 'FAILURE' and own)) and state
        for i = 1, #steps, 2 do
            local step, on = steps[i], steps[i + 1]
            if on == wanted then
                if on == 'FAILURE' and envelope then
                    call('SET', P .. 'call:' .. id, cmsgpack.pack({envelope, blobs}))
                    for _, blob in ipairs(blobs) do refer(blob, 1) end
                    envelope = nil
                end
                if call('HINCRBY', P .. 'left', step, -1) <= 0 then go(step) end
            elseif step ~= '' and not call('ZSCORE', P .. 'timers', 'step:0:' .. step) then
                local turn = turn_of(step)
                if turn then doom(step, turn, id) end
            end
        end
    end

    -- A step is done, or replaced: it needs nothing from others any more.
    function flow.leave(id)
        local turn = turn_of(id)
        if call('HDEL', P .. 'steps', id) == 0 or not turn then return end
        if call('HDEL', P .. 'left', id) == 1 then count('waiting', turn.queue, -1) end
        call('ZREM', P .. 'timers', 'step:0:' .. id, 'join:0:' .. id)
        for _, before in ipairs(turn.after) do
            local after = P .. 'after:' .. before
            if call('HDEL', after, id) == 1 then
                local others = call('HLEN', after)
                if others == 1 and call('HEXISTS', after, '') == 1 then -- see forget.lua
                    call('UNLINK', after, P .. 'result:' .. before, P .. 'output:' .. before, P .. 'value:' .. before)
                    drop_call(before)
                elseif others == 0 then
                    if expires > 0 then
                        call('PEXPIRE', P .. 'result:' .. before, expires)
                        call('PEXPIRE', P .. 'value:' .. before, expires)
                    end
                    drop_call(before)
                end
            end
        end
    end

    -- Steps that go line up; returns the ids of those that somebody has to look at.
    function flow.finish()
        for _, place in pairs(ready) do
            for first = 1, #place[3], 1000 do
                local entries = {}
                for i = first, math.min(first + 999, #place[3]) do table.insert(entries, place[3][i]) end
                line_up(place[1], place[2], entries)
            end
        end
        return look
    end

    return flow
end
