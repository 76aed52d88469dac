module github.com/pgbake/pgbake/beside

go 1.21
