#!/bin/sh
# Prints what a real PostgreSQL server knows: take.sh BINDIR DIRECTORY, as an unprivileged user that may write into DIRECTORY.
# One line each, fields between tabs:
#   setting  NAME TYPE UNIT MIN MAX WORDS   a parameter that a file can set (pg_settings); WORDS of an enum between |
#   library  NAME                           a library of the server's package that can be loaded
#   encoding NAME                           an encoding that client_encoding can be
#   zone     NAME                           a time zone; they are tzdata's of this Debian, not the server's
#   language NAME                           a language that ICU of this Debian knows
set -eu

bin=$1 dir=$2
data=$dir/data
export LC_ALL=C
tab=$(printf '\t')

"$bin/initdb" -D "$data" --locale=C --encoding=UTF8 -A trust -U postgres >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
trap '"$bin/pg_ctl" -D "$data" -m immediate stop >/dev/null 2>&1 || true' EXIT

start() {
	"$bin/pg_ctl" -D "$data" -w -l "$dir/server.log" \
		-o "-c listen_addresses= -c unix_socket_directories=$dir -c fsync=off -c shared_preload_libraries=$1" start >"$dir/start.log" 2>&1 ||
		{ tail -n 5 "$dir/server.log" >&2; exit 1; }
}
sql() { echo "$1" | psql -h "$dir" -U postgres -d postgres -XAtq -F "$tab" -v ON_ERROR_STOP="${2:-1}"; }

start ''
# Parts of PostgreSQL that nobody preloads, and procedural languages: they come in packages of their own.
libraries=
for file in "$(sql "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")"/*.so; do
	name=$(basename "$file" .so)
	case $name in *_and_* | euc2004* | dict_snowball | libpqwalreceiver | llvmjit* | plperl* | pltcl* | plpython*) continue ;; esac
	if sql "LOAD '$name'" >/dev/null 2>&1; then libraries="$libraries $name"; fi
done
# What a file cannot set, ALTER SYSTEM refuses even to reset. It also refuses some that a file can: none of them is of the user's context.
fixed=$(sql "SELECT format('ALTER SYSTEM RESET %I', name) FROM pg_settings WHERE context = 'user' AND name !~ '[.]' \\gexec" 0 2>&1 |
	sed -n 's/.*parameter "\(.*\)" cannot be changed.*/\1/p')
"$bin/pg_ctl" -D "$data" -w -m fast stop >/dev/null

# The libraries' own parameters are there only once they are loaded.
start "$(echo "$libraries" | tr ' ' ',' | sed 's/^,//')"
sql "SELECT 'setting', name, vartype, coalesce(unit, ''), coalesce(min_val, ''), coalesce(max_val, ''), coalesce(array_to_string(enumvals, '|'), '')
	FROM pg_settings WHERE context <> 'internal' AND NOT name = ANY (string_to_array('$(echo "$fixed" | tr '\n' ' ' | sed 's/ $//')', ' '))
	ORDER BY name COLLATE \"C\""
for name in $libraries; do printf 'library\t%s\n' "$name"; done
sql "SELECT 'encoding', name FROM (SELECT pg_encoding_to_char(n)::text AS name FROM generate_series(0, 99) n) e WHERE name <> '' ORDER BY name COLLATE \"C\""
sql "SELECT 'zone', name FROM pg_timezone_names WHERE name !~ '^(posix|right)/' AND name NOT IN ('localtime', 'posixrules') ORDER BY name COLLATE \"C\""
sql "SELECT DISTINCT 'language', split_part(collname, '-', 1) COLLATE \"C\" FROM pg_collation WHERE collprovider = 'i' ORDER BY 2"
