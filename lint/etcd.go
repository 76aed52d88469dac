package lint

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// etcd is one of etcd's settings by its name in YAML: ETCD_LISTEN_CLIENT_URLS in an environment file.
func (f *file) etcd(name string) (entry, bool) {
	if f.kind == Etcd {
		return f.get("", "ETCD_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	}
	section, key := "", name
	if s, k, ok := strings.Cut(name, "."); ok {
		section, key = s, k
	}
	return f.get(section, key)
}

// etcdMember tells whether the file is a member's, and not a few variables for etcdctl.
func etcdMember(l *look) bool {
	_, listens := l.etcd("listen-client-urls")
	_, peers := l.etcd("listen-peer-urls")
	return listens || peers
}

func neverRead(l *look) {
	if name := path.Clean(l.path); strings.HasSuffix(name, "etc/etcd/etcd.conf") || path.Base(name) == "etcd.conf" {
		l.say(l.top(), "etcd.conf is never read on Debian")
	}
}

func lonelyData(l *look) {
	if e, ok := l.etcd("data-dir"); ok {
		if dir := strings.TrimSuffix(e.value(), "/"); dir == "/var/lib/etcd" || dir == "/var/lib/etcd/default" {
			l.say(e.valueAt(), "the data directory is where the package's lone member has its data")
		}
	}
}

var urlSettings = []string{"listen-client-urls", "listen-peer-urls", "advertise-client-urls", "initial-advertise-peer-urls"}

func plainEtcd(l *look) {
	for _, name := range urlSettings {
		e, ok := l.etcd(name)
		if !ok {
			continue
		}
		for u := range strings.SplitSeq(e.value(), ",") {
			if parsed, err := url.Parse(strings.TrimSpace(u)); err == nil && parsed.Scheme == "http" && parsed.Hostname() != "127.0.0.1" && parsed.Hostname() != "localhost" && parsed.Hostname() != "::1" {
				l.say(e.valueAt(), "%s in plain text, for everybody", e.key)
				break
			}
		}
	}
}

func noClientCertificates(l *look) {
	for _, side := range []struct{ urls, environment, yaml string }{
		{"listen-client-urls", "client-cert-auth", "client-transport-security.client-cert-auth"},
		{"listen-peer-urls", "peer-client-cert-auth", "peer-transport-security.client-cert-auth"},
	} {
		name := side.environment
		if l.kind == EtcdYAML {
			name = side.yaml
		}
		urls, ok := l.etcd(side.urls)
		if auth, _ := l.etcd(name); ok && strings.HasPrefix(urls.value(), "https:") && auth.value() != "true" {
			l.say(urls.at, "%s asks nobody for a certificate", urls.key)
		}
	}
}

func keepsEverything(l *look) {
	var missing []string
	for _, name := range []string{"auto-compaction-retention", "quota-backend-bytes"} {
		if e, ok := l.etcd(name); !ok || e.value() == "0" {
			missing = append(missing, name)
		}
	}
	if etcdMember(l) && len(missing) > 0 {
		l.say(l.top(), "no %s", strings.Join(missing, ", no "))
	}
}

func nervous(l *look) {
	if _, ok := l.etcd("election-timeout"); !ok && etcdMember(l) {
		l.say(l.top(), "etcd's default timers")
	}
}

func notInCluster(l *look) {
	name, named := l.etcd("name")
	list, listed := l.etcd("initial-cluster")
	peer, advertised := l.etcd("initial-advertise-peer-urls")
	if !named || !listed {
		return
	}
	var names []string
	for member := range strings.SplitSeq(list.value(), ",") {
		n, u, _ := strings.Cut(strings.TrimSpace(member), "=")
		names = append(names, n)
		if n == name.value() && advertised && u != peer.value() && !strings.Contains(peer.value(), ",") {
			l.say(list.valueAt(), "%s is at %s in the initial cluster, and advertises %s", n, u, peer.value())
		}
	}
	if !slices.Contains(names, name.value()) {
		l.say(name.valueAt(), "the initial cluster has %s, and not %s", strings.Join(names, ", "), name.value())
	}
}

// otherCluster compares with the files before. A member that has joined later has a longer list, and says so.
func otherCluster(l *look) {
	for _, f := range l.of(Etcd, EtcdYAML) {
		if f == l.file {
			return
		}
		state, _ := l.etcd("initial-cluster-state")
		if other, _ := f.etcd("initial-cluster-state"); state.value() == "existing" || other.value() == "existing" {
			continue
		}
		for _, name := range []string{"initial-cluster", "initial-cluster-token"} {
			mine, ok := l.etcd(name)
			if theirs, also := f.etcd(name); ok && also && !slices.Equal(members(mine), members(theirs)) {
				l.say(mine.valueAt(), "%s is another one than in %s", mine.key, f.name)
				return
			}
		}
	}
}

func members(e entry) []string {
	all := strings.Split(strings.ReplaceAll(e.value(), " ", ""), ",")
	slices.Sort(all)
	return all
}

// otherEtcd compares Patroni's endpoints with what etcd's members advertise.
func otherEtcd(l *look) {
	advertised := map[string]string{} // scheme by host:port
	for _, f := range l.of(Etcd, EtcdYAML) {
		if e, ok := f.etcd("advertise-client-urls"); ok {
			for u := range strings.SplitSeq(e.value(), ",") {
				if parsed, err := url.Parse(strings.TrimSpace(u)); err == nil && parsed.Host != "" {
					advertised[parsed.Host] = parsed.Scheme
				}
			}
		}
	}
	for _, section := range []string{"etcd3", "etcd"} {
		protocol := "http"
		if e, ok := l.get(section, "protocol"); ok {
			protocol = e.value()
		}
		endpoints := append(l.in(section+".hosts"), l.in(section)...)
		for _, e := range endpoints {
			if e.section == section && e.key != "hosts" && e.key != "host" {
				continue
			}
			for host := range strings.SplitSeq(e.value(), ",") {
				host = strings.TrimSpace(host)
				name, _, _ := cutPort(host)
				switch scheme, ok := advertised[host]; {
				case ok && scheme != protocol:
					l.say(e.valueAt(), "Patroni speaks %s to %s, and etcd %s", protocol, host, scheme)
					return
				case !ok && host != "" && sameHost(advertised, name):
					l.say(e.valueAt(), "Patroni asks for etcd at %s, and it is at another port", host)
					return
				}
			}
		}
	}
}

func sameHost(advertised map[string]string, name string) bool {
	for host := range advertised {
		if h, _, _ := cutPort(host); h == name {
			return true
		}
	}
	return false
}
