package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// The checks of the machine itself.

func seed(l *Look) []Finding {
	if l.Seed == "" {
		return nil
	}
	what, hint, _ := strings.Cut(l.Seed, "\n      hint: ")
	mend := []string{"pgha apply    # once that is put right"}
	switch {
	case hint != "":
		mend = []string{hint}
	case strings.Contains(what, cluster.SeedDir+"/cluster.yaml:"):
		mend = []string{"editor " + cluster.SeedDir + "/cluster.yaml", "pgha apply"}
	}
	for _, m := range l.Open {
		if strings.Contains(l.Seed, m.Path) {
			mend = append(shut(m), "pgha apply")
		}
	}
	return []Finding{{What: "this machine cannot be what it was told: " + what, Why: "pgha changes nothing before that is mended; what runs goes on", Mend: mend}}
}

// clockMost is what TLS and people do not notice; etcd and Patroni go by their own timers.
const clockMost = 2 * time.Second

func clock(l *Look) []Finding {
	if len(l.Offsets) == 0 {
		return nil
	}
	// The middle one is right, or more than half of the machines are wrong.
	offsets := slices.Sorted(maps.Values(l.Offsets))
	off := offsets[len(offsets)/2]
	if off.Abs() <= clockMost {
		return nil
	}
	word := "behind"
	if off < 0 {
		word = "ahead of"
	}
	return []Finding{{
		What: fmt.Sprintf("this machine's clock is %s %s the others'", off.Abs().Round(time.Second), word),
		Why:  "certificates, logs, the times of a restore and the ends of maintenances go by it",
		Mend: []string{"systemctl restart chrony", "chronyc makestep", "chronyc sources -v"},
	}}
}

// A file system that is full stops PostgreSQL; a fifth of what is left goes for what mends it.
const diskFull, diskFilling = 97, 90

func disk(l *Look) (found []Finding) {
	for _, d := range l.Disks {
		if max(d.Used, d.Inodes) < diskFilling {
			continue
		}
		what := fmt.Sprintf("%s is %d %% full, %d MiB are left", d.Path, d.Used, d.Free>>20)
		if d.Inodes > d.Used {
			what = fmt.Sprintf("%s has used %d %% of its inodes", d.Path, d.Inodes)
		}
		why := "PostgreSQL stops when it cannot write WAL, and etcd takes no leader's lease"
		if d.Used >= diskFull {
			why = "PostgreSQL stops, or has stopped, since it cannot write WAL; etcd takes no leader's lease"
		}
		mend := []string{"journalctl --vacuum-size=100M", "apt-get clean", "du -xh --max-depth=3 " + d.Path + " | sort -h | tail -n 20"}
		for _, aside := range d.Aside {
			mend = append(mend, "rm -r "+aside+"    # set aside, and only when nobody needs it")
		}
		found = append(found, Finding{What: what, Why: why + "; a slot that keeps WAL is named below", Mend: mend})
	}
	return found
}

func secrets(l *Look) (found []Finding) {
	for _, m := range l.Open {
		if !strings.Contains(l.Seed, m.Path) { // else the seed's check has said it
			found = append(found, Finding{
				What: fmt.Sprintf("%s has the mode %s", m.Path, m.Mode),
				Why:  "others may read a secret of the cluster there; who has read it, nobody knows",
				Mend: shut(m),
			})
		}
	}
	return found
}

// shut takes a secret from everybody but root.
func shut(m Mode) []string {
	return []string{"chown root:root " + m.Path, "chmod " + m.Want + " " + m.Path}
}

func files(l *Look) (found []Finding) {
	for _, c := range l.Changed {
		f := Finding{Mend: []string{"pgha apply"}}
		switch {
		case c.Missing:
			f.What, f.Why = c.Path+" is missing", "somebody removed it, or no apply came so far"
		case c.Body:
			f.What, f.Why = c.Path+" is not as pgha writes it", "somebody edited it, or a newer package writes it otherwise: what should stay belongs into cluster.yaml"
			f.Mend = []string{"pgha diff", "pgha apply"}
		default:
			f.What, f.Why = c.Path+": "+c.Mode, "whom it belongs to decides who reads its secrets, and whether its service can"
		}
		found = append(found, f)
	}
	return found
}

func packages(l *Look) (found []Finding) {
	if len(l.Packages) > 0 {
		found = append(found, Finding{
			What: "half installed: " + strings.Join(l.Packages, ", "),
			Why:  "an installation or upgrade was cut short",
			Mend: []string{"dpkg --configure -a", "apt-get --fix-broken install"},
		})
	}
	if l.Updates != "" {
		found = append(found, Finding{
			What: l.Updates,
			Why:  "nothing is installed by itself; pgha-updates.timer has the archives asked every day",
			Mend: []string{"pgha updates", "pgha upgrade --all    # on one machine after the other"},
		})
	}
	return found
}

func units(l *Look) (found []Finding) {
	reload := false
	for _, u := range l.Units {
		short := strings.TrimSuffix(u.Name, ".service")
		reload = reload || u.Reload
		switch {
		case u.Load == "masked":
			found = append(found, Finding{What: u.Name + " is masked", Why: "somebody forbade systemd to start it", Mend: []string{"systemctl unmask " + short, "systemctl start " + short}})
		case u.Load == "not-found":
			found = append(found, Finding{What: u.Name + " is not there", Why: "its package is not installed", Mend: []string{"apt-get install --reinstall " + packageOf(u.Name)}})
		case u.Active == "failed":
			found = append(found, Finding{
				What: u.Name + " has failed", Why: "systemd says: " + u.Result + "; the reason is in: journalctl -b -n 30 -u " + short,
				Mend: []string{"systemctl reset-failed " + short, "systemctl restart " + short},
			})
		case !u.Wanted || u.Active == "active" || u.Active == "reloading":
		case u.Active == "activating":
			if l.Apply.Waiting == "" { // else apply says why
				found = append(found, Finding{What: u.Name + " is starting, or starts over and over", Why: "the reason is in: journalctl -b -n 30 -u " + short, Mend: []string{"systemctl restart " + short}})
			}
		case !l.Configured:
			found = append(found, Finding{What: u.Name + " does not run", Why: "no pgha apply has come so far that it may", Mend: []string{"pgha apply"}})
		default:
			found = append(found, Finding{What: u.Name + " does not run", Why: "somebody stopped it", Mend: []string{"systemctl start " + short}})
		}
		if u.Wanted && u.Restart != "" && u.Restart != "always" && u.Load == "loaded" {
			found = append(found, Finding{
				What: fmt.Sprintf("%s has Restart=%s", u.Name, u.Restart), Why: "when it crashes it stays down; somebody changed the unit",
				Mend: []string{"systemctl revert " + short, "systemctl daemon-reload"},
			})
		}
	}
	if reload {
		found = append(found, Finding{What: "systemd has not read changed units", Why: "files of units changed, and what runs goes by the old ones", Mend: []string{"systemctl daemon-reload"}})
	}
	return found
}

// packageOf is the package that brings a unit.
func packageOf(unit string) string {
	switch name := strings.TrimSuffix(unit, ".service"); name {
	case "etcd":
		return "etcd-server"
	case "pgha-follow", "pgha-firewall", "pgha-apply":
		return "pgha-common"
	default:
		return name
	}
}

func apply(l *Look) []Finding {
	switch a := l.Apply; {
	case a.Error != "" && l.Seed == "":
		what, hint, _ := strings.Cut(a.Error, "\n      hint: ")
		mend := []string{"pgha apply"}
		if hint != "" {
			mend = []string{hint, "pgha apply"}
		}
		return []Finding{{What: "the last pgha apply failed", Why: what, Mend: mend}}
	case a.Waiting != "":
		return []Finding{{
			What: fmt.Sprintf("pgha apply waits for %s, since %s", a.Step, a.Since.UTC().Format("2006-01-02 15:04 UTC")),
			Why:  a.Waiting, Mend: []string{"journalctl -b -u pgha-apply -n 20"},
		}}
	}
	return nil
}

func firewall(l *Look) []Finding {
	running := slices.ContainsFunc(l.Units, func(u Unit) bool { return u.Name == "pgha-firewall.service" && u.Active == "active" })
	if !l.Unfiltered || !running { // one that does not run is named already
		return nil
	}
	return []Finding{{What: "the machine's packet filter is not loaded", Why: "every port is open to everybody; somebody flushed nftables", Mend: []string{"systemctl restart pgha-firewall"}}}
}

func certificates(l *Look) (found []Finding) {
	for _, c := range l.Certificates {
		what, hint, _ := strings.Cut(c, "\n      hint: ")
		found = append(found, Finding{What: what, Why: "without it the machines do not talk to each other", Mend: []string{hint}})
	}
	return found
}

func start(l *Look) []Finding {
	if l.LastWords == "" {
		return nil
	}
	return []Finding{{
		What: "PostgreSQL of this machine does not run, and said: " + l.LastWords,
		Why:  cmp.Or(l.LastHint, "Patroni starts it again and again; what it was asked for is in cluster.yaml, what it found is on this machine"),
		Mend: []string{"journalctl -b -n 500 -u patroni | grep -A 3 -E 'FATAL|PANIC'", "on the operator's machine: pgbake seed    # where a parameter in cluster.yaml is the reason, and is put right", "pgha spec accept generation.json    # what that made"},
	}}
}

func stray(l *Look) (found []Finding) {
	for _, s := range l.Stray {
		found = append(found, Finding{
			What: "PostgreSQL " + s + " of Debian's own tools starts at boot", Why: "it is none of Patroni's: it takes memory, and maybe the port, and what is written to it is on no other machine",
			Mend: []string{"pg_conftool " + s + " show data_directory", "pg_dropcluster --stop " + s + "    # only when nobody needs its data"},
		})
	}
	if l.Orphan {
		found = append(found, Finding{
			What: "PostgreSQL runs without Patroni", Why: "nobody stops it when another member becomes the primary: two may take writes",
			Mend: []string{"systemctl start patroni"},
		})
	}
	return found
}

func generation(l *Look) []Finding {
	if l.Refused == "" {
		return nil
	}
	what, hint, _ := strings.Cut(l.Refused, "\n      hint: ")
	return []Finding{{What: "this machine does not take the newest specification", Why: what, Mend: []string{hint}}}
}
