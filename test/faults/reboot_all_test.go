//go:build faults && linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/hosts"
	"github.com/quorumd/quorumd/units"
)

// reboot is one reboot of a host: when logind was told to, and when the host's agent
// called it done, right before it gave the slot back. All clocks are one machine's.
type reboot struct {
	id          string
	asked, done time.Time
}

// rebootOnce waits until logind is told to reboot a host, until it is back with another
// boot id and without what /run had, and until its agent calls the reboot done.
func rebootOnce(ctx context.Context, w *world, h *hosts.Host) (reboot, error) {
	m := h.Machine()
	before, err := units.BootID(m.BootIDFile())
	if err != nil {
		return reboot{}, err
	}
	select {
	case <-m.RebootAsked():
	case <-ctx.Done():
		return reboot{}, fmt.Errorf("%s was never rebooted: %w", h.ID, context.Cause(ctx))
	}
	r := reboot{id: h.ID, asked: time.Now()}
	if err := w.await(h.ID+" to boot", func() error {
		now := h.Machine()
		if now == nil || now == m {
			return errors.New("it has not")
		}
		after, err := units.BootID(now.BootIDFile())
		if err == nil && after == before {
			err = fmt.Errorf("its boot id is %s as before", after)
		}
		return err
	}); err != nil {
		return r, err
	}
	if err := w.says(h.ID, string(policy.RebootDone)); err != nil {
		return r, err
	}
	lines, err := h.Journal()
	if err != nil {
		return r, err
	}
	i := slices.IndexFunc(lines, func(l hosts.Line) bool {
		return l.Msg == hosts.Decided && l.Reason == string(policy.RebootDone) && l.At.After(r.asked)
	})
	if i < 0 {
		return r, fmt.Errorf("%s called a reboot done before it was rebooted", h.ID)
	}
	r.done = lines[i].At
	return r, nil
}

// oneByOne: each was done before the next was begun.
func oneByOne(all []reboot) error {
	slices.SortFunc(all, func(a, b reboot) int { return a.asked.Compare(b.asked) })
	for i := 1; i < len(all); i++ {
		if last := all[i-1]; !last.done.Before(all[i].asked) {
			return fmt.Errorf("%s was rebooted at %s, before %s was done at %s", all[i].id, all[i].asked, last.id, last.done)
		}
	}
	return nil
}

// allWantReboot: an update is there on every node at one instant. One node after the
// other reboots, the leader too, and etcd serves all the while.
func allWantReboot(w *world) error {
	all := w.Hosts()
	for _, h := range all {
		if err := os.WriteFile(h.RebootRequiredFile(), nil, 0o600); err != nil {
			return err
		}
	}
	reboots := make([]reboot, len(all))
	g, ctx := errgroup.WithContext(w.ctx)
	for i, h := range all {
		g.Go(func() (err error) {
			reboots[i], err = rebootOnce(ctx, w, h)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := oneByOne(reboots); err != nil {
		return err
	}
	// Nobody wants one any more: nobody is rebooted again.
	return w.holds(5*time.Second, func() error {
		for _, h := range all {
			select {
			case <-h.Machine().RebootAsked():
				return fmt.Errorf("%s is rebooted again", h.ID)
			default:
			}
		}
		return nil
	})
}
