package fleet

import (
	"context"
	"fmt"
	"time"
)

// Until asks again and again, in the given interval, until ok returns nil, and
// fails with its last error when ctx ends. It is for what can only be asked for;
// what can be waited for itself should be.
func Until(ctx context.Context, every time.Duration, what string, ok func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w", what, context.Cause(ctx), err)
		}
	}
}
