package render

import "github.com/pgbake/pgbake/cluster"

// hidden stands where a preview has no secret to show. Short and plain: keepalived takes eight letters and no more.
const hidden = "hidden"

// Preview is an Input for looking at the files without secrets, certificates or a machine. It serves both roles.
func Preview(c *cluster.Cluster) Input {
	in := Input{
		Secrets: cluster.Secrets{
			Replicator: hidden, Rewind: hidden, REST: hidden, Stats: hidden, VRRP: hidden, Users: map[string]string{},
			RepositoryKey: hidden, RepositoryKeySecret: hidden, RepositorySSHKey: "-----BEGIN " + hidden,
		},
		Identity: cluster.Identity{},
	}
	for _, u := range c.Postgres.Users {
		in.Secrets.Users[u.Name] = hidden
	}
	for _, r := range table {
		for _, name := range r.from {
			in.Identity[name] = []byte(hidden + " " + name + "\n")
		}
	}
	return in
}
