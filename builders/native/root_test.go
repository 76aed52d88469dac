package native

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/pgbake/pgbake/internal/run"
)

func TestRoot(t *testing.T) {
	needBuild(t)
	for _, debian := range []int{12, 13} {
		l := testLock(t, debian)
		if os.Getenv("LOCKOUT") != "" {
			l.Save(os.Getenv("LOCKOUT"))
		}
		for _, i := range testImages(t, testCluster(t, debian))[:2] {
			o := Options{Runner: run.System{}, UI: talk(t), Cache: testCache(t), Image: i, Lock: l, Debs: testDebs(t, "1.0.0")}
			err := Root(t.Context(), o, func(_ context.Context, tr Tree) error {
				t.Logf("%+v", tr)
				out, _ := exec.Command("sh", "-c", "chroot "+tr.Dir+" dpkg -l | grep -c ^ii; chroot "+tr.Dir+" dpkg --audit; ls -la "+tr.Dir+" "+tr.Dir+"/boot; du -sh "+tr.Dir).CombinedOutput()
				t.Logf("%s", out)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
