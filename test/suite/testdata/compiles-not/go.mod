module github.com/pgbake/pgbake/compiles-not

go 1.21
