package cluster

import "strings"

// SlotOf is the name that Patroni gives the replication slot of a member: what a slot's name may not have becomes "_".
func SlotOf(member string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(member))
}
