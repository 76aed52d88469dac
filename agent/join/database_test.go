package join

import (
	"testing"
	"time"
)

func TestDecideDatabase(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Database
		want DatabaseStep
	}{
		{"first of all", Database{}, LetPatroni},
		{"a clone is to be made", Database{Initialize: Made, Cluster: "7"}, LetPatroni},
		{"mine", Database{There: true, System: "7", Initialize: Made, Cluster: "7"}, LetPatroni},
		{"the first one was done, and the machine switched off before it was seen", Database{There: true, System: "7", Unfinished: true, Initialize: Made, Cluster: "7"}, LetPatroni},
		{"another's", Database{There: true, System: "8", Initialize: Made, Cluster: "7"}, Refuse},
		{"no identifier, and not begun here", Database{There: true, Initialize: Made, Cluster: "7"}, Refuse},
		{"a database before the cluster", Database{There: true, System: "8"}, Refuse},
		{"a database, and another machine makes the first one", Database{There: true, System: "8", Initialize: Reserved, AtWork: true}, Refuse},
		{"initdb was cut short", Database{There: true, System: "8", Unfinished: true, Initialize: Reserved}, AsideDatabase},
		{"initdb was cut short, and its reservation released", Database{There: true, System: "8", Unfinished: true}, AsideDatabase},
		{"initdb was cut short, and another machine has made it since", Database{There: true, System: "8", Unfinished: true, Initialize: Made, Cluster: "7"}, AsideDatabase},
		{"initdb was cut short, and another machine makes it now", Database{There: true, System: "8", Unfinished: true, Initialize: Reserved, AtWork: true}, AsideDatabase},
		{"a base backup was cut short", Database{There: true, Unfinished: true, Initialize: Made, Cluster: "7"}, AsideDatabase},
		{"a base backup that never started", Database{There: true, System: "7", Copied: true, Unfinished: true, Initialize: Made, Cluster: "7"}, AsideDatabase},
		{"a base backup that has run here", Database{There: true, System: "7", Copied: true, Initialize: Made, Cluster: "7"}, LetPatroni},
		{"another machine is at it", Database{Initialize: Reserved, AtWork: true, Idle: time.Hour}, LetPatroni},
		{"whoever was at it is gone for a moment", Database{Initialize: Reserved, Idle: time.Second}, AwaitPatroni},
		{"whoever was at it is gone", Database{Initialize: Reserved, Idle: time.Minute}, ReleaseReserve},
	} {
		if got, why := DecideDatabase(tt.in); got != tt.want {
			t.Errorf("%s: %d (%s), want %d", tt.name, got, why, tt.want)
		}
	}
}
