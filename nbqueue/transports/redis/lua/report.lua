-- What runs tell while they run.
--
-- KEYS[1]   the namespace, of which it uses: held:*, tasks, standing, result:*, watchers, live:*, output:*
-- ARGV[1]   {executor, worker, reports = {{kind, id, token, sender, state}, …}}; the kinds are "started",
--           "progress", "update" and "output", `worker` is the name that is shown
-- ARGV[2…]  of each: what it tells, sealed
--
-- All but output, whose last piece may come after the outcome, count only while the lease is the task's.

local said = cmsgpack.unpack(ARGV[1])
local held = P .. 'held:' .. said.executor

local function stand(id, token, change)
    local packed = call('HGET', P .. 'standing', id)
    local standing = packed and standing_of(packed)
    if standing and standing[1] == tonumber(token) then
        change(standing)
        call('HSET', P .. 'standing', id, cmsgpack.pack(standing))
    end
end

for i, report in ipairs(said.reports) do
    local kind, id, token, sealed = report.kind, report.id, report.token, ARGV[i + 1]
    local counts = call('HGET', held, token) == id
    if kind == 'output' then
        local left = -2
        if call('HEXISTS', P .. 'tasks', id) == 0 then left = call('PTTL', P .. 'result:' .. id) end
        counts = left ~= -2 or call('HEXISTS', P .. 'tasks', id) == 1
        if counts then
            call('RPUSH', P .. 'output:' .. id, sealed)
            if left > 0 then call('PEXPIRE', P .. 'output:' .. id, left) end
        end
    elseif counts and kind == 'started' then
        stand(id, token, function(standing)
            if standing[5] == 0 then
                standing[5], standing[11], standing[12] = report.at, report.state, said.worker
            end
        end)
    elseif counts then
        call('HSET', P .. 'live:' .. id, kind, sealed)
        if kind == 'update' then
            stand(id, token, function(standing) standing[11] = report.state end)
        end
    end
    if counts then tell(report.sender, call('HGET', P .. 'watchers', id), frame('e' .. sealed)) end
end
return #said.reports
