module github.com/pgbake/pgbake/panics

go 1.21
