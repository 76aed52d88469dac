module github.com/pgbake/pgbake/passes

go 1.21
