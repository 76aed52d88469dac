package render

import "github.com/pgbake/pgbake/cluster"

// Preview is an Input that shows what a machine's files will look like without its secrets: each stands there by its
// name. What depends on the machine itself (shared_buffers, the limit of the slots) shows what an unknown one gets.
func Preview(c *cluster.Cluster) Input {
	in := Input{
		Secrets: cluster.Secrets{
			Replicator: "(password of the replication user)", Rewind: "(password of rewind)", REST: "(password of the REST API)",
			Users: map[string]string{}, Stats: "(password of the statistics)", VRRP: "(vrrp)",
		},
		Identity: cluster.Identity{},
	}
	for _, u := range c.Postgres.Users {
		in.Secrets.Users[u.Name] = "(password of " + u.Name + ")"
	}
	for _, r := range table {
		for _, name := range r.from {
			in.Identity[name] = []byte("(" + name + ")\n")
		}
	}
	return in
}
