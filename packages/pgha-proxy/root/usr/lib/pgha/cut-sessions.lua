-- Part of pgha-proxy; replaced by upgrades. haproxy.cfg loads it on Debian 13.
-- Ends the sessions of a server of postgres_rw that has been down for six seconds: a session that stayed with an old
-- primary would write into nothing. HAProxy's own word for that, on-marked-down shutdown-sessions, forgets in 3.0 the
-- sessions that are still connecting at that moment, and their clients wait until "timeout client", 12 hours. Six
-- seconds later none is: "timeout connect" is 4 s, and nothing is sent to a server that is down.
local patience = 6
local down = {}

core.register_task(function()
	while true do
		for name, server in pairs(core.backends["postgres_rw"].servers) do
			if server:get_stats().status:find("^DOWN") then
				down[name] = (down[name] or 0) + 1
				if down[name] >= patience then
					server:shut_sess()
				end
			else
				down[name] = 0
			end
		end
		core.sleep(1)
	end
end)
