-- Lanes whose tasks have a rate, or demand something of a worker; it is put before claim.lua.
--
-- {lane, queue, {rate, name, wants = {resource → amount}}}: their tasks are given one at a time, each to an
-- executor that can begin it at once, as their rate has it, and their worker has room for them.  Uses: starts,
-- occupied:*, awaits:*, held:*.
--
-- `said` is what the claim says; its lanes are put into the order in which they are to be looked at.
local function special_lanes(said, now)
    -- when the next one may begin, of those whose rate keeps them; 0 for none
    local it = {soonest = 0}
    local free, awaited = nil, {}

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

    -- Whether the first task of a special lane may begin now.  One that lacks room has what comes free: none
    -- that came later, or is less urgent, gets any of what it waits for.
    function it.may_begin(lane, special)
        if special.rate > 0 then
            local due = (tonumber(call('HGET', P .. 'starts', special.name) or 0) or 0) + 1 / special.rate
            if now < due then
                if it.soonest == 0 or due < it.soonest then it.soonest = due end
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
    function it.begin(special, token)
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
    do
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
    return it
end
