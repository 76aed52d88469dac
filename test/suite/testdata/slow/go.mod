module github.com/pgbake/pgbake/slow

go 1.21
