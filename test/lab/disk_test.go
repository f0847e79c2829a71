//go:build e2e && linux

package lab

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumd/quorumd/test/fleet"
)

// TestStalledDisk: writes to a stalled disk wait until it goes on, and neither taking the
// power nor closing the lab waits for them.
func TestStalledDisk(t *testing.T) {
	l := newLab(t)
	h := addHost(t, l, 1)
	if err := h.StallDisk(); err == nil {
		t.Fatal("a host without a further disk has one that stalls")
	}
	if err := h.AddDisk("/var/lib/other", 32<<20); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	writes := 0
	write := func(d time.Duration) error {
		writes++
		wrote := fmt.Sprintf("/run/wrote-%d", writes)
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		// Its own process waits in the kernel; who asked for it need not.
		_, err := h.Exec(ctx, "sh", "-c", "(echo x >/var/lib/other/file && touch "+wrote+") >/dev/null 2>&1 &")
		if err != nil {
			return err
		}
		return fleet.Until(ctx, 10*time.Millisecond, "a write", func(ctx context.Context) error {
			_, err := h.Exec(ctx, "test", "-e", wrote)
			return err
		})
	}
	if err := write(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := h.StallDisk(); err != nil {
		t.Fatal(err)
	}
	if err := write(2 * time.Second); err == nil {
		t.Error("a stalled disk takes writes")
	}
	if err := h.ThawDisk(); err != nil {
		t.Fatal(err)
	}
	if err := write(20 * time.Second); err != nil {
		t.Errorf("after the stall: %v", err)
	}
	if err := h.StallDisk(); err != nil {
		t.Fatal(err)
	}
	if err := write(time.Second); err == nil {
		t.Error("a stalled disk takes writes")
	}
	began := time.Now()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("closing took %s", took)
	}
	if left := leftovers(t, l.id, l.dir); len(left) > 0 {
		t.Errorf("left after Close: %q", left)
	}
}
