-- What the scripts share; it is put before each of them.
--
-- KEYS[1]  the application's namespace, `nbq:{APP}:`.  All keys of an application begin with it, and by its
--          hash tag they are in one slot.  They are described in `names.py`.
--
-- Memory: Redis refuses a script that wants to write when it is full, and never one that has begun to.  What
-- makes room (or gives out what is there) therefore begins with a write that needs none.

local P = KEYS[1]
local call = redis.call

local function clock()
    local time = call('TIME')
    return time[1] + time[2] / 1000000
end

-- A message as it is framed in what is published: several may be published as one.
local function frame(message)
    return struct.pack('>I4', #message) .. message
end

-- The id of an entry, and about how many bytes its task has, as powers of two: see `names.py`.
local function id_of(entry) return string.sub(entry, 6) end
local function size_of(entry) return 2 ^ math.max(0, math.min((string.byte(entry, 5) or 0) - 65, 40)) end

-- Wake up to `count` executors that wait for tasks of a lane: one that does not hear it is not there.
local function wake(lane, count)
    local idle = P .. 'idle:' .. lane
    while count > 0 do
        local executor = call('ZPOPMIN', idle)[1]
        if not executor then return end
        if call('PUBLISH', P .. 'x:' .. executor, '') > 0 then count = count - 1 end
    end
end

-- How a task stands, as a table of its fields (`records.Standing`); false if it was never given out.
local function standing_of(packed)
    local read, standing = pcall(cmsgpack.unpack, packed or '')
    if read and type(standing) == 'table' and #standing == 12 and type(standing[1]) == 'number' then
        return standing
    end
    return false
end

-- Put entries into a lane, at its end or (the last first) before the others, and wake whom they need.
local function line_up(lane, priority, entries, before)
    if call('HSETNX', P .. 'lanes', lane, 0) == 1 then call('PUBLISH', P .. 'news', lane) end
    call('HINCRBY', P .. 'lanes', lane, #entries)
    call(before and 'LPUSH' or 'RPUSH', P .. 'ready:' .. lane .. ':' .. priority, unpack(entries))
    wake(lane, #entries)
end

-- So many tasks of a lane wait no longer.  When none is left, entries of those that were withdrawn go too.
local function withdraw(lane, count)
    if call('HINCRBY', P .. 'lanes', lane, -count) > 0 then return end
    local lists, list = {}, P .. 'ready:' .. lane .. ':'
    for priority = 0, 9 do lists[priority + 1] = list .. priority end
    call('DEL', unpack(lists))
    if call('EXISTS', P .. 'alive') == 0 then call('HDEL', P .. 'lanes', lane) end
end

-- A counter in a hash that is gone when it is 0.
local function count(hash, field, by)
    if by ~= 0 and call('HINCRBY', P .. hash, field, by) <= 0 then call('HDEL', P .. hash, field) end
end

-- So many tasks more (or fewer) need a blob; one that none needs stays for an hour, for the next call;
-- a payload goes at once.
local function refer(blob, by)
    local references = call('HINCRBY', P .. 'references', blob, by)
    if references <= 0 then
        call('HDEL', P .. 'references', blob)
        if string.sub(blob, 1, 2) == 'p.' then
            call('UNLINK', P .. 'blob:' .. blob)
        else
            call('EXPIRE', P .. 'blob:' .. blob, 3600)
        end
    elseif references == by then
        call('PERSIST', P .. 'blob:' .. blob)
    end
end

-- Whether a blob is here: of a large payload, all its pieces and the seal.
local function is_there(blob)
    local pieces = string.match(blob, '^p%.(%d+)%.')
    if pieces then return call('HLEN', P .. 'blob:' .. blob) == pieces + 1 end
    return call('EXISTS', P .. 'blob:' .. blob) == 1
end

-- Tell those who are told of a task: its sender, and who asked for it since (`watchers`, or false).
local function tell(sender, watchers, framed)
    call('PUBLISH', P .. 'c:' .. sender, framed)
    for watcher in string.gmatch(watchers or '', '%S+') do
        if watcher ~= sender then call('PUBLISH', P .. 'c:' .. watcher, framed) end
    end
end

-- Tasks whose time has come line up.  Returns when the next one is due, 0 for none.
local function line_up_due(now)
    local next = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
    if tonumber(next[2] or now + 1) > now then return next[2] or '0' end
    local due = call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, 256)
    local groups = {}
    for _, member in ipairs(due) do
        local place, entry = string.match(member, '^(%Z*%z%d)(.+)$')
        if place then -- else it is not one of ours
            groups[place] = groups[place] or {}
            table.insert(groups[place], entry)
        end
    end
    if #due > 0 then call('ZREM', P .. 'due', unpack(due)) end
    for place, entries in pairs(groups) do
        line_up(string.sub(place, 1, -3), string.sub(place, -1), entries)
    end
    next = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
    return next[2] or '0'
end

-- What a task was called with that has failed: its errback may still be on its way.
local function keep_call(id, envelope)
    if envelope and #envelope <= 2048 then
        call('SET', P .. 'call:' .. id, cmsgpack.pack({envelope, {}}), 'PX', 60000)
    end
end

-- List new tasks among the newest: `recent` of them, for `expires` seconds (0: for ever), and of their notebook.
local function list_recent(said, ids)
    if #ids == 0 then return end
    local lists = {P .. 'recent'}
    if said.notebook ~= '' then table.insert(lists, P .. 'recent:' .. said.notebook) end
    for _, list in ipairs(lists) do
        -- not one by one, which costs as much as a few hundred
        if call('RPUSH', list, unpack(ids)) > said.recent * 1.1 then call('LTRIM', list, -said.recent, -1) end
        if said.expires > 0 then call('EXPIRE', list, said.expires) end
    end
end
