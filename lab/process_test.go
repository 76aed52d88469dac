package lab

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestUntilSaysWhoStoppedIt(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(context.Context) (context.Context, func())
		want string
	}{
		"too late": {func(ctx context.Context) (context.Context, func()) {
			return limit(ctx, time.Millisecond)
		}, "boot: not yet (gave up after 1ms)"},
		"Ctrl-C": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errors.New("stopped by SIGINT"))
			return ctx, func() {}
		}, "stopped by SIGINT"},
		"a failure beside": {func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, "boot: not yet"},
	} {
		ctx, cancel := tc.end(t.Context())
		if err := until(ctx, "boot", func() error { return errors.New("not yet") }); err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", name, err, tc.want)
		}
		cancel()
	}
}
