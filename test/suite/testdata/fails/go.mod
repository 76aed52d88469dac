module github.com/pgbake/pgbake/fails

go 1.21
