package lint

import (
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/internal/processor"
)

// A file of the largest size that is read takes a second, whatever is repeated in it: rules that look at every pair of
// lines would take hours.
func TestLargestFile(t *testing.T) {
	for kind, text := range map[Kind]string{
		Patroni:    "a: [b]\n",
		HAProxy:    "backend a\n option httpchk\n server a b:1 check\n",
		Etcd:       "ETCD_NAME=x\nETCD_LISTEN_PEER_URLS=http://a\n",
		EtcdYAML:   "- b: {c: d}\n",
		Unit:       "[Service]\nExecStart=/a/patroni\nKillMode=process\n",
		Keepalived: "vrrp_instance a {\n b {\n",
		HBA:        "host all all all trust\n",
		PostgreSQL: "synchronous_commit = remote_apply\n",
		Script:     "cat > /etc/default/etcd <<X\nETCD_A=b\nX\npatronictl list -f json \"\n",
	} {
		before := processor.Time()
		_, err := Check([]File{{Name: "x", Kind: kind, Body: []byte(strings.Repeat(text, (255<<10)/len(text)))}})
		if took := processor.Time() - before; took > 30*time.Second {
			t.Errorf("%s: %s, %v", kind, took, err)
		}
	}
}
