package e2e

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
)

// badInput gives a machine of a running cluster what is not its own: one message, on its console and in its journal by
// the unit that says it, in `pgha status` too; nothing is touched, and with its own files it is as it was.
func (l *lab) badInput(t *testing.T) {
	l = l.on(t)
	secrets := filepath.Join(filepath.Dir(l.spec), "secrets")
	other := filepath.Join(t.TempDir(), "cluster.yaml")
	if _, talk, err := pgbake(t.Context(), other, "init"); err != nil {
		t.Fatal(err, talk)
	}
	neighbour := "echo db2 >/etc/pgha/machine"
	for _, name := range []string{"etcd", "etcd-client", "rest", "postgres"} {
		for _, end := range []string{".crt", ".key"} {
			neighbour += "; " + putText("/etc/pgha/tls/"+name+end, readText(t, filepath.Join(secrets, "machines/db2", name+end)))
		}
	}
	const machine = "db3"
	for _, tt := range []struct{ name, do, want string }{
		{"another cluster's authority", putText("/etc/pgha/tls/ca.crt", readText(t, filepath.Join(filepath.Dir(other), "secrets", "ca.crt"))),
			"etcd.crt is signed by another authority than those in ca.crt"},
		{"a name that is not in the specification", "echo db9 >/etc/pgha/machine", `has no machine "db9", it has db1, db2, db3, proxy1`},
		{"another machine's user-data", neighbour, "the address of db2 in /etc/pgha/cluster.yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := l.on(t)
			out, code := l.exec(machine, "sh", "-c", "cp -a /etc/pgha /run/own; touch /run/before; "+tt.do+"; "+
				"systemctl restart pgha-apply.service; journalctl --sync; journalctl -u pgha-apply.service -o cat -n 5 --no-pager; echo ==; pgha status; echo ==; "+
				"find /etc -newer /run/before -type f ! -path '/etc/pgha/*'; "+
				"rm -r /etc/pgha; mv /run/own /etc/pgha; systemctl reset-failed pgha-apply.service; systemctl restart pgha-apply.service && pgha apply 2>&1")
			parts := strings.Split(out, "==\n")
			if code != 0 || len(parts) != 3 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			for where, said := range map[string]string{"the journal": parts[0], "pgha status": parts[1]} {
				if !strings.Contains(said, tt.want) {
					t.Errorf("%q is not in %s:\n%s", tt.want, where, said)
				}
			}
			if !strings.HasPrefix(parts[2], "pgha: nothing to change") {
				t.Errorf("files were touched, or it is not as it was:\n%s", parts[2])
			}
		})
	}
}

// putText is the shell's way to put a text into a file.
func putText(path, text string) string {
	return "echo " + base64.StdEncoding.EncodeToString([]byte(text)) + " | base64 -d >" + path
}
