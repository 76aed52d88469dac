package agent

import "testing"

// What Patroni's keys say before the restored database leads. Its history is that of the database that leads: where another one was
// restored, on a timeline of the same number, Patroni would keep the one that there is, and the pause would never end.
func TestRestoredDatabaseLeads(t *testing.T) {
	mine := fork{1, 83886240}
	for _, tt := range []struct {
		name, key, value, another string
		mine                      fork
		want                      string // empty: the key goes
	}{
		{"the last leader", lastLeader, "db2", "", mine, "db1"},
		{"of the same database", "initialize", "7", "", mine, "7"},
		{"of another database", "initialize", "7", "8", mine, "8"},
		{"of the same database, whose history Patroni writes", "history", `[[1,5,"why","when","db2"]]`, "", mine, `[[1,5,"why","when","db2"]]`},
		{"of the database that is no more", "history", `[[1,5,"why","when","db2"]]`, "8", mine, ""},
		{"of a longer one that is no more", "history", `[[1,5,"why"],[2,9,"why"]]`, "8", mine, ""},
		{"an empty one", "history", `[]`, "8", mine, ""},
		{"of the restored one", "history", `[[1,83886240,"why","when","db1"]]`, "8", mine, `[[1,83886240,"why","when","db1"]]`},
		{"before anything is restored", "history", `[[1,5,"why"]]`, "8", fork{}, `[[1,5,"why"]]`},
		{"nobody else may take over", "sync", `{"leader":"db2","quorum":1,"sync_standby":"db1,db3"}`, "", mine, `{"leader":"db1","quorum":0,"sync_standby":null}`},
		{"and nobody may", "sync", `{"leader":"db1","quorum":0,"sync_standby":null}`, "", mine, `{"leader":"db1","quorum":0,"sync_standby":null}`},
		{"asynchronous", "sync", `{"leader":null,"sync_standby":null}`, "", mine, `{"leader":null,"sync_standby":null}`},
		{"a key without a value, which etcd's JSON leaves out", "optime", "", "8", mine, ""},
		{"a key that is not the restore's", "config", `{"pause":true}`, "8", mine, `{"pause":true}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, gone, err := keyToLead(tt.key, []byte(tt.value), "db1", tt.another, tt.mine)
			if err != nil || string(got) != tt.want || gone != (tt.want == "" && tt.value != "") {
				t.Errorf("%s: %q becomes %q, want %q (gone: %t, %v)", tt.key, tt.value, got, tt.want, gone, err)
			}
		})
	}
}
