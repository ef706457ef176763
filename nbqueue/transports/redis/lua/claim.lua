-- Give an executor tasks that wait: about `budget` seconds of work.  One that takes long, or that nobody has
-- measured, it gets only when it has no other.
--
-- KEYS[1]  the namespace, of which it uses: executors:*, due, lanes, ready:*, idle:*, tasks, standing, result:*,
--          held:*, running, token; and what special.lua does
-- ARGV[1]  {executor, worker, budget, room, free, idle, lanes = {{lane, queue}, …},
--          estimates = {tag → seconds}, unknown = seconds of what is not among them,
--          resources = what its worker has, if a lane is special}.
--          `free`: so many it could begin at once; `idle`: it is lined up as one that waits
--
-- Returns {known, when the next scheduled task is due, when it was given these, the first token, {{lane,
-- {id, envelope, standing, …}}, …}}: tokens count up, and a standing is "" when this is its first lease.
-- `known` is 0 if the executor has to say Hello again.  One that could begin more than it gets is lined up as
-- idle.

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

-- Lanes may be special: {lane, queue, {rate, name, wants = {resource → amount}}}, see special.lua.
local specials = said.resources and special_lanes(said, now)

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
                if taken >= said.free or call('EXISTS', list) == 0 then break end
                if not specials.may_begin(lane[1], special) then break end
                most = 1
            end
            local ids = take(list, most)
            if #ids == 0 then break end
            local before = taken
            lease(lane[1], lane[2], ids)
            if special and taken > before then specials.begin(special, first + before) end
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
local soonest = specials and specials.soonest or 0
if soonest > 0 and (tonumber(due) == 0 or soonest < tonumber(due)) then due = string.format('%.6f', soonest) end
return {1, due, string.format('%.6f', now), string.format('%.0f', first), batches}
