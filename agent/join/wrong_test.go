package join

import (
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Tables with one mistake each. The model must find it, or it proves nothing of the right one.
func TestModelFindsMistakes(t *testing.T) {
	old := fresh(3, func(w *world) { w.losses, w.swaps = 1, 1 })
	young := fresh(3, func(w *world) { w.young, w.losses = true, 1 })
	proxy := fresh(3, func(w *world) { w.young, w.proxy, w.losses = true, true, 1 })
	five := grownUp(t, 5)
	five.losses = 2
	// A second cluster in its shortest form: enough machines begin anew, next to one that had begun with them.
	const forgetful = "lost its log takes part as if it had it"
	for _, tt := range []struct {
		name  string
		rules rules
		start world
		want  string
	}{
		{"one machine begins on silence", rules{drop("minority"), true}, young, "minority founds"},
		{"a majority begins whenever the cluster was declared", rules{drop("tooOld"), true}, old, forgetful},
		{"nobody asks the proxy", rules{drop("remembered"), true}, proxy, forgetful},
		{"a silent proxy is taken for one that has seen nothing", rules{drop("proxiesFirst"), true}, proxy, forgetful},
		{"the assumption does not hold", rules{table, false}, young, forgetful},
		{"a survivor is no obstacle", rules{drop("membersAlone"), true}, young, forgetful},
		{"no quorum: my data must be worthless", rules{swap("noQuorum", row(Own, no, anything, always, SetAside)), true}, old, "good standing"},
		{"a member that was never ready has nothing to lose", rules{swap("wasAdded", row(None, yes, member, neverReady, joinListed)), true}, old, forgetful},
		{"in beside the predecessor", rules{swap("lostData", row(None, yes, member, always, addVoter)), true}, old, "given away"},
		{"whoever is lost removes itself", rules{swap("catchesUp", row(Own, yes, voter, lagsAlone, Remove)), true}, old, "living member"},
		{"an empty log is good enough", rules{swap("cutShort", row(Unborn, either, anything, isDown, Stop)), true}, old, "do not become a cluster"},
		{"no learner is promoted", rules{swap("learns", row(Own, yes, learner, always, Wait)), true}, old, "names nobody"},
		{"the lock is never given back", rules{swap("isVoter", row(Own, yes, voter, lockIsMine, Settled)), true}, old, "which is well"},
		{"a lock that ran out is kept from a learner", rules{drop("learnerFirst"), true}, five, "circles"},
		{"a founder that never came is waited for", rules{drop("neverCame"), true}, young, "Patroni for etcd"},
		{"stale user-data is as good as any", rules{drop("takesNewer"), true}, stale(t), "stale user-data"},
		{"a wait that names nobody", rules{swap("minority", row(None, no, nowhere, isMinority, Wait)), true}, old, "names nobody"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			story, count, _ := explore(&tt.rules, 2_000_000, tt.start)
			if !strings.Contains(story, tt.want) {
				t.Errorf("%d worlds, and no %q in:\n%s", count, tt.want, story)
			}
			t.Logf("%d worlds\n%s", count, story)
		})
	}
}

// drop is the table without the rows that say this.
func drop(what string) []rule {
	found := slices.ContainsFunc(table, func(r rule) bool { return r.says(what) })
	if !found {
		panic("no row says " + what)
	}
	return slices.DeleteFunc(slices.Clone(table), func(r rule) bool { return r.says(what) })
}

// swap is the table with another row in the place of the one that says this.
func swap(what string, other rule) []rule {
	wrong := slices.Clone(table)
	wrong[slices.IndexFunc(table, func(r rule) bool { return r.says(what) })] = other
	return wrong
}

func row(d Data, q quorum, l listed, when func(*Observation) bool, do Step) rule {
	return rule{d, q, l, when, do, func(*Observation) sentence { return say("wrong") }}
}

func (r rule) says(what string) bool {
	name := runtime.FuncForPC(reflect.ValueOf(r.say).Pointer()).Name()
	return name[strings.LastIndex(name, ".")+1:] == what
}

func neverReady(o *Observation) bool { return !o.me().Ready }

func lagsAlone(o *Observation) bool {
	return !slices.ContainsFunc(o.Peers, func(p Peer) bool { return p.State == Member })
}
