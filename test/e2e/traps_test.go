package e2e

import (
	"strings"
	"testing"
)

// traps is what the owner of a database puts into it so that a superuser's query runs it: functions and an aggregate that fit
// better than the system's own what pgha asks, or would ask without the names of their schemas. The owner, app, becomes a
// superuser by each, and where that is in a copy alone, leaves a file.
const traps = `SET ROLE app;
CREATE FUNCTION public.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	ALTER ROLE app SUPERUSER;
	COPY (SELECT 1) TO PROGRAM 'cat >/var/lib/postgresql/trapped';
EXCEPTION WHEN insufficient_privilege THEN
END $$;
CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN pg_catalog.format($1, VARIADIC ARRAY[$2, $3]); END $$;
CREATE FUNCTION public.json_build_object(text, json, text, json, text, json) RETURNS json LANGUAGE plpgsql AS
	$$ BEGIN PERFORM public.trap(); RETURN pg_catalog.json_build_object(VARIADIC ARRAY[$1, $2::text, $3, $4::text, $5, $6::text]); END $$;
CREATE FUNCTION public.seen(json, name) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN '[]'; END $$;
CREATE AGGREGATE public.json_agg(name) (SFUNC = public.seen, STYPE = json);
CREATE FUNCTION public.query_to_xml(text, boolean, boolean, text) RETURNS xml LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN pg_catalog.query_to_xml($1, $2, $3, $4); END $$;
ALTER DATABASE app SET search_path = public, pg_catalog;
`

// setTraps lays them, and makes a database whose name libpq could take for a connection string.
func (l *lab) setTraps(machine string) {
	l.Helper()
	const sql = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 "
	l.sh(machine, sql+"-d app <<-'EOF'\n"+traps+"EOF\n"+sql+`-c 'CREATE DATABASE "service=nowhere"'`)
}

// untrapped tells that nobody went into one.
func (l *lab) untrapped(t *testing.T, machine string) {
	t.Helper()
	out := l.sh(machine, `cd /; ls /var/lib/postgresql; runuser -u postgres -- psql -XAtqc "SELECT 'app is a superuser' FROM pg_catalog.pg_roles WHERE rolname = 'app' AND rolsuper"`)
	if strings.Contains(out, "trapped") || strings.Contains(out, "superuser") {
		t.Errorf("what the owner of a database has put into it has run as the superuser:\n%s", out)
	}
}
