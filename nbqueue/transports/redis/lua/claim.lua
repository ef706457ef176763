-- Give an executor tasks that wait: about `budget` seconds of work.  One that takes long, or that nobody has measured,
-- it gets only when it has no other.
--
-- KEYS[1]  the namespace, of which it uses: executors:*, due, lanes, ready:*, idle:*, tasks, standing, result:*,
--          held:*, running, token
--          starts, occupied:*, awaits:*, if a lane is special
-- ARGV[1]  {executor, worker, budget, room, free, idle, lanes = {{lane, queue}, …}, estimates = {tag → seconds},
--          unknown = seconds of what is not among them, resources = what its worker has, if a lane is special}.  `free`: so many it could begin at once; `idle`: it is
--          lined up as one that waits
--
-- Returns {known, when the next scheduled task is due, when it was given these, the first token, {{lane,
-- {id, envelope, standing, …}}, …}}: tokens count up, and a standing is "" when this is its first lease.  `known` is
-- 0 if the executor has to say Hello again.  One that could begin more than it gets is lined up as idle.

local said = cmsgpack.unpack(ARGV[1])
if call('HEXISTS', P .. 'executors:' .. said.worker, said.executor) == 0 then return {0} end
local now = clock()
if said.idle then
    for _, lane in ipairs(said.lanes) do call('ZREM', P .. 'idle:' .. lane[1], said.executor) end
end
local due = line_up_due(now)

local batches, pairs_held, standings = {}, {}, {}
local backlog, taken, bytes = 0, 0, 0
local first = math.max(tonumber(call('GET', P .. 'token') or 0), math.floor(now * 1000000)) + 1

-- How a task stands that is given out for the first time, before and after its token: an array of 12 fields, of
-- which the first is a number of 8 bytes (`records.Standing`).
local before = string.char(0x9c, 0xcf)
local after = string.sub(cmsgpack.pack({said.executor, 1, now, 0, 0, 0, 0, 0, false, 'PENDING', ''}), 2)

local function lease(lane, queue, ids)
    local results, leases, result = {}, {}, P .. 'result:'
    for i, id in ipairs(ids) do results[i] = result .. id end
    local ended = call('EXISTS', unpack(results)) > 0
    local envelopes = call('HMGET', P .. 'tasks', unpack(ids))
    local stood = call('HMGET', P .. 'standing', unpack(ids))
    local number = 0
    for i, id in ipairs(ids) do
        local standing = stood[i] and standing_of(stood[i])
        if ended and call('EXISTS', results[i]) == 1 then -- it has ended: somebody has put it back
            call('HDEL', P .. 'tasks', id)
        elseif envelopes[i] and not (standing and standing[1] > 0) then -- else it was withdrawn
            local token, packed, told = first + taken + number, nil, ''
            if standing then
                standing[1], standing[2], standing[3] = token, said.executor, standing[3] + 1
                standing[4], standing[5] = now, 0
                packed = cmsgpack.pack(standing)
                told = packed
            else
                packed = before .. struct.pack('>I8', token) .. after
            end
            number = number + 1
            local place = 2 * (taken + number)
            pairs_held[place - 1], pairs_held[place] = string.format('%.0f', token), id
            standings[place - 1], standings[place] = id, packed
            leases[3 * number - 2], leases[3 * number - 1], leases[3 * number] = id, envelopes[i], told
        end
    end
    if number > 0 then
        withdraw(lane, number)
        count('running', queue, number)
        taken = taken + number
        table.insert(batches, {lane, leases})
    end
end

-- Lanes may be special: {lane, queue, {rate, name, wants = {resource → amount}}}.  Their tasks are given one at a
-- time, each to an executor that can begin it at once: as their rate has it, and their worker has room for them.
local soonest, free, awaited = 0, nil, {}

-- What is not occupied; by what is no longer held, nothing is.
local function count_free()
    free = {}
    for resource, amount in pairs(said.resources) do free[resource] = amount end
    local occupied = call('HGETALL', P .. 'occupied:' .. said.worker)
    for i = 1, #occupied, 2 do
        local read, holder = pcall(cmsgpack.unpack, occupied[i + 1])
        if not read or call('HEXISTS', P .. 'held:' .. holder[1], occupied[i]) == 0 then
            call('HDEL', P .. 'occupied:' .. said.worker, occupied[i])
        else
            for resource, amount in pairs(holder[2]) do free[resource] = (free[resource] or 0) - amount end
        end
    end
end

-- Whether the first task of a special lane may begin now.  One that lacks room has what comes free: none that came
-- later, or is less urgent, gets any of what it waits for.
local function may_begin(lane, special)
    if taken >= said.free then return false end
    if special.rate > 0 then
        local due = (tonumber(call('HGET', P .. 'starts', special.name) or 0) or 0) + 1 / special.rate
        if now < due then
            if soonest == 0 or due < soonest then soonest = due end
            return false
        end
    end
    if not next(special.wants) then return true end
    if not free then count_free() end
    local fits = true
    for resource, amount in pairs(special.wants) do
        if awaited[resource] or amount > (free[resource] or 0) + 1e-9 * amount then fits = false end
    end
    local waits = P .. 'awaits:' .. said.worker
    if fits then
        call('HDEL', waits, lane)
    else
        for resource in pairs(special.wants) do awaited[resource] = true end
        call('HSETNX', waits, lane, string.format('%.6f', now))
        call('EXPIRE', waits, 60) -- whoever still waits says so again
    end
    return fits
end

-- The first task of a special lane begins, under that token.
local function begin(special, token)
    if special.rate > 0 then -- evenly: one that is a trifle late does not delay the next
        local due = (tonumber(call('HGET', P .. 'starts', special.name) or 0) or 0) + 1 / special.rate
        call('HSET', P .. 'starts', special.name, string.format('%.6f', now - due <= 0.010 and due or now))
        local lasts = math.max(86400, math.ceil(1 / special.rate) + 1)
        if call('PTTL', P .. 'starts') < 1000 * lasts then call('EXPIRE', P .. 'starts', lasts) end
    end
    if next(special.wants) then
        local packed = cmsgpack.pack({said.executor, special.wants})
        call('HSET', P .. 'occupied:' .. said.worker, string.format('%.0f', token), packed)
        for resource, amount in pairs(special.wants) do free[resource] = (free[resource] or 0) - amount end
    end
end

-- Of special lanes, those come first whose first task has waited longest for room.
if said.resources then
    local waits, place = {}, {}
    local rows = call('HGETALL', P .. 'awaits:' .. said.worker)
    for i = 1, #rows, 2 do waits[rows[i]] = tonumber(rows[i + 1]) end
    for i, lane in ipairs(said.lanes) do place[lane[1]] = i end
    table.sort(said.lanes, function(one, other)
        local a, b = waits[one[1]] or math.huge, waits[other[1]] or math.huge
        if a ~= b then return a < b end
        return place[one[1]] < place[other[1]]
    end)
end

-- What of a list there is room for, taken out of it: `most` at the most.
local function take(list, most)
    local ids = {}
    for _, entry in ipairs(call('LRANGE', list, 0, most - 1)) do
        local seconds = said.estimates[string.sub(entry, 1, 4)] or said.unknown
        local fills = taken + #ids >= said.free
        if bytes > 8388608 then break end -- more goes by another reply: see look.lua
        if fills and (backlog >= said.budget or seconds >= said.unknown) then break end
        ids[#ids + 1] = id_of(entry)
        bytes = bytes + size_of(entry)
        backlog = backlog + seconds
    end
    if #ids > 0 then call('LTRIM', list, #ids, -1) end
    return ids
end

-- Lanes in which tasks wait: how many, and of which priority at most; few use another than 0.
local names, lists, waiting = {}, {}, {}
for i, lane in ipairs(said.lanes) do names[i], lists[i] = lane[1], P .. 'ready:' .. lane[1] .. ':' end
local top, counts = 0, #names > 0 and call('HMGET', P .. 'lanes', unpack(names)) or {}
for i, list in ipairs(lists) do
    waiting[i] = tonumber(counts[i] or 0) or 0
    if waiting[i] > 0 and top == 0 then
        local higher = {}
        for priority = 1, 9 do higher[priority] = list .. priority end
        if call('EXISTS', unpack(higher)) > 0 then top = 9 end
    end
end
for priority = top, 0, -1 do
    for i, lane in ipairs(said.lanes) do
        while waiting[i] > 0 and taken < said.room do
            local list, special, most = lists[i] .. priority, lane[3], said.room - taken
            if special then
                if call('EXISTS', list) == 0 or not may_begin(lane[1], special) then break end
                most = 1
            end
            local ids = take(list, most)
            if #ids == 0 then break end
            local before = taken
            lease(lane[1], lane[2], ids)
            if special and taken > before then begin(special, first + before) end
            waiting[i] = waiting[i] - (taken - before)
            if taken == before then backlog = 0 end -- all were withdrawn: look at those behind them
        end
    end
end

if taken > 0 then
    call('HSET', P .. 'held:' .. said.executor, unpack(pairs_held))
    call('HSET', P .. 'standing', unpack(standings))
    call('SET', P .. 'token', string.format('%.0f', first + taken - 1))
end
if taken < said.free then
    for _, lane in ipairs(said.lanes) do call('ZADD', P .. 'idle:' .. lane[1], now, said.executor) end
else -- it may have been woken for more than it took: one that was idle in several lanes was so in each
    for i, lane in ipairs(said.lanes) do
        if waiting[i] > 0 then wake(lane[1], 1) end
    end
end
if soonest > 0 and (tonumber(due) == 0 or soonest < tonumber(due)) then due = string.format('%.6f', soonest) end
return {1, due, string.format('%.6f', now), string.format('%.0f', first), batches}
