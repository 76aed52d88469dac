package doctor

import (
	"fmt"
	"strings"
)

// Patroni is the program on this machine.
type Patroni struct {
	Version string
	// Unknown are functions that pgha corrects, and whose text in this Patroni it does not know: they stay as they are.
	Unknown []string
	// Foreign tells that patroni.service starts another program than pgha's, or has; Before, that the Patroni that runs was
	// started before the corrections that are installed now.
	Foreign, Before bool
}

func patroni(l *Look) []Finding {
	const why = "a primary that hangs for longer than its lease, as a virtual machine that is paused, may lead again when it goes on, and rows that were acknowledged are lost"
	p := l.Patroni
	if p == nil {
		return nil
	}
	restart := []string{"systemctl restart patroni"}
	if l.Database != nil && l.Database.Leads {
		restart = append([]string{"pgha switchover"}, restart...)
	}
	switch {
	case len(p.Unknown) > 0:
		return []Finding{{
			What: fmt.Sprintf("pgha does not know Patroni %s, and corrects nothing of it in %s", p.Version, strings.Join(p.Unknown, ", ")), Why: why,
			Mend: []string{"apt-get install --only-upgrade pgha-node    # a newer one may know it", "apt-cache madison patroni    # else one of its versions: 3.0.2, 4.0.7"},
		}}
	case p.Foreign:
		return []Finding{{
			What: "Patroni " + p.Version + " is started without the corrections that pgha has for it: somebody changed patroni.service", Why: why,
			Mend: append([]string{"systemctl revert patroni"}, restart...),
		}}
	case p.Before:
		return []Finding{{
			What: "Patroni " + p.Version + " was started before the corrections that pgha has for it now were installed", Why: why,
			Mend: restart,
		}}
	}
	return nil
}
