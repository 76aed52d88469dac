package restore

import "testing"

// TestModelFindsWrongVariants takes one thing away at a time: what the model does not miss, nobody needs.
func TestModelFindsWrongVariants(t *testing.T) {
	blind := func(change func(*Observation)) func(Observation) (Action, string) {
		return func(o Observation) (Action, string) {
			change(&o)
			return Decide(o)
		}
	}
	instead := func(of, a Action) func(Observation) (Action, string) {
		return func(o Observation) (Action, string) {
			did, why := Decide(o)
			if did == of {
				return a, why
			}
			return did, why
		}
	}
	placed := func(change func(*Observation)) func(Observation) (Action, string) {
		return blind(func(o *Observation) {
			if o.Disk.placed() {
				change(o)
			}
		})
	}
	for what, r := range map[string]rules{
		"it does not look who leads before it starts":         {placed(func(o *Observation) { o.Leader = o.Self }), true, true, true},
		"it does not look again at the timelines":             {blind(func(o *Observation) { o.Disk.Behind = false }), true, true, true},
		"it waits for nobody to hear of the pause":            {blind(func(o *Observation) { o.Unaware = nil }), true, true, true},
		"it starts without a pause":                           {placed(func(o *Observation) { o.Paused, o.Unaware = true, nil }), true, true, true},
		"it ends the pause while the old one could lead":      {blind(func(o *Observation) { o.Open = "" }), true, true, true},
		"it exchanges under a running PostgreSQL":             {blind(func(o *Observation) { o.Postgres, o.Patroni, o.Held = false, false, true }), true, true, true},
		"a primary that lost its power is not started again":  {placed(func(o *Observation) { o.Serves, o.Leader = o.Disk.Started, o.Self }), true, true, true},
		"an exchange is not taken back":                       {instead(Back, Start), true, true, true},
		"one that was given up elsewhere goes on":             {blind(func(o *Observation) { o.Note.Claimed = o.Note.Claimed && o.Holder != "" }), true, true, true},
		"a member is told again while it copies":              {blind(again), true, true, true},
		"it ends before the members have copied":              {blind(func(o *Observation) { o.Others = nil }), true, true, true},
		"the pause is never ended":                            {instead(Resume, Finish), true, true, true},
		"it goes on as the database of before, once torn":     {blind(func(o *Observation) { o.Disk.Data = true }), true, true, true},
		"a maintenance that is over ends the restore's pause": {Decide, false, true, true},
		"Patroni starts at a boot amid the exchange":          {Decide, true, false, true},
		"the restore in etcd is no lock":                      {Decide, true, true, false},
	} {
		found := ""
		for _, leader := range []string{"R", "A"} {
			if found == "" {
				found, _ = explore(&r, begins(leader))
			}
		}
		if found == "" {
			t.Errorf("the model does not see it: %s", what)
		} else {
			t.Logf("%s:\n%s", what, found)
		}
	}
}

func again(o *Observation) {
	for i := range o.Others {
		if o.Others[i].State == Copying {
			o.Others[i].State = Old
		}
	}
}
