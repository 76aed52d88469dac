package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdoption(t *testing.T) {
	const spec = "scope: demo\nnetwork: 10.0.0.0/24\nnodes:\n- {name: node1, address: 10.0.0.11}\n"
	for _, adopt := range []string{"adopt: {node: node1, cluster: 17/main}\n", "adopt: {node: node1, data: true}\nstorage: {data_disk: /dev/vdb}\n"} {
		c, err := Parse("cluster.yaml", []byte(spec+adopt))
		if err != nil {
			t.Fatal(err)
		}
		if !c.Adopts("node1") || c.Adopts("node2") || c.Adopts("") {
			t.Errorf("%s: adopts node1 %t, node2 %t, nobody %t", adopt, c.Adopts("node1"), c.Adopts("node2"), c.Adopts(""))
		}
		out, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("again.yaml", out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, again, sameCluster); diff != "" {
			t.Errorf("Encode and Parse changed it (-before +after):\n%s", diff)
		}
	}
	c, err := Parse("cluster.yaml", []byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	if c.Adopts("") || c.Adopts("node1") {
		t.Error("it adopts, and was not asked to")
	}
}

func TestManagedParameters(t *testing.T) {
	c := defaults()
	c.Adopt.Node = "db1"
	c.complete()
	for _, tt := range []struct {
		name, value string
		managed     bool
	}{
		{"fsync", "off", true},
		{"recovery_target_time", "now", true},
		{"synchronous_commit", "remote_apply", true},
		{"synchronous_commit", "remote_write", false},
		{"max_connections", "10", true},
		{"max_connections", "500", false},
		{"work_mem", "8MB", false},
		{"work_mem", "8mb", true},
		{"huge_pages", "on", true},
		{"shared_preload_libraries", "pg_cron", false}, // its owner installs it on every machine
	} {
		if why := c.Managed(tt.name, tt.value); (why != "") != tt.managed {
			t.Errorf("%s = %s: %q", tt.name, tt.value, why)
		}
	}
}
