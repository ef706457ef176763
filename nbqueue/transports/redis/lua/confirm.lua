-- Those that had ended when a step came have all ended as it wants: it waits for the others only.
--
-- KEYS[1]  the namespace, of which it uses what workflow.lua does
-- ARGV[1]  id of the step
--
-- Returns 0 if nobody waited for that.

local flow = workflow(clock(), 0)
local confirmed = flow.confirm(ARGV[1])
flow.finish()
return confirmed and 1 or 0
