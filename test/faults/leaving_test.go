//go:build faults && linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// A machine is gone, and nobody can tell for good until EC2 says so: its member
// stays. Then it is removed, and the replacement comes at the dead one's address,
// which must not make it the same member.
func powerOffThenReplaced(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	dead := w.Host(ids[0])
	before, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	if err := w.PowerOff(dead.ID); err != nil {
		return err
	}
	if err := w.holds(8*time.Second, func() error {
		now, err := w.Members(w.ctx)
		if err == nil && !now.Votes(dead.ID) {
			err = fmt.Errorf("%s was removed without proof: %s", dead.ID, now)
		}
		return err
	}); err != nil {
		return err
	}
	// No launch before its address is free.
	if err := errors.Join(w.Cloud.Suspend(hosts.Group, fakeaws.ProcessLaunch), w.Cloud.TerminateInstance(dead.ID)); err != nil {
		return err
	}
	if _, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.BecameTerminated && e.Instance == dead.ID }); err != nil {
		return err
	}
	if err := w.Cloud.Resume(hosts.Group); err != nil {
		return err
	}
	after, err := w.Settle(w.ctx)
	if err != nil {
		return err
	}
	for _, inst := range w.Instances() {
		if inst.PrivateIP == dead.Addr {
			if m := after[inst.ID]; m.ID == before[dead.ID].ID {
				return fmt.Errorf("%s goes on as member %x", inst.ID, m.ID)
			}
			return nil
		}
	}
	return errors.New("no replacement has the dead one's address, so nothing was shown")
}

func twoAtOnce(w *world) error {
	ids, leader, err := w.followers()
	if err != nil {
		return err
	}
	return errors.Join(w.Terminate(leader), w.Terminate(ids[0]))
}

func healthyAndStopped(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	if err := w.Host(ids[0]).Machine().KillUnit(hosts.EtcdUnit, syscall.SIGSTOP); err != nil {
		return err
	}
	return errors.Join(w.Terminate(ids[0]), w.Terminate(ids[1]))
}

func healthyAndCrashing(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	if err := errors.Join(w.KillEtcd(ids[0]), w.Terminate(ids[0]), w.Terminate(ids[1])); err != nil {
		return err
	}
	gone := func(e fakeaws.Event) bool { return e.Kind == fakeaws.HookCompleted && e.Instance == ids[0] }
	return fleet.Until(w.ctx, 500*time.Millisecond, "the crashing one to go", func(context.Context) error {
		_ = w.KillEtcd(ids[0]) // it may be down already, or its machine gone
		if slices.ContainsFunc(w.Cloud.Events()[w.events:], gone) {
			return nil
		}
		return errors.New("its hook is open")
	})
}

func allAtOnce(w *world) error {
	var errs []error
	for _, inst := range w.Instances() {
		errs = append(errs, w.Terminate(inst.ID))
	}
	return errors.Join(errs...)
}

func toOneAndBack(w *world) error {
	if err := w.Scale(1); err != nil {
		return err
	}
	if _, err := w.Settle(w.ctx); err != nil {
		return err
	}
	return w.Scale(3)
}

// A node is told to go while it joins, after each of its steps.
func goWhileJoining(w *world) error {
	for _, reason := range []string{"ForeignRecord", "JoinLearner", "RecordIdentity", "StartLearner", "CompleteLaunch"} {
		grow := func() error { return w.Scale(4) }
		if err := w.atReason(hosts.Acted, reason, grow, func(h *hosts.Host) error {
			w.ranOut[h.ID] = true // whether its launch hook ends so or so does not matter any more
			return w.Shrink(h.ID)
		}); err != nil {
			return err
		}
		if _, err := w.Settle(w.ctx); err != nil {
			return fmt.Errorf("told to go after %s: %w", reason, err)
		}
	}
	return nil
}

func replaceLeader(w *world) error {
	leader, err := w.Leader(w.ctx)
	if err != nil {
		return err
	}
	return w.Terminate(leader)
}

// Five voters: two machines are lost at once, and while they are replaced the
// other three are told to go. Then there are to be three.
func fiveInTrouble(w *world) error {
	if err := w.Scale(5); err != nil {
		return err
	}
	if _, err := w.Settle(w.ctx); err != nil {
		return err
	}
	ids, leader, err := w.followers()
	if err != nil {
		return err
	}
	if err := errors.Join(w.Lose(leader), w.Lose(ids[0])); err != nil {
		return err
	}
	if err := errors.Join(w.Terminate(ids[1]), w.Terminate(ids[2]), w.Terminate(ids[3])); err != nil {
		return err
	}
	if _, err := w.Settle(w.ctx); err != nil {
		return err
	}
	return w.Scale(3)
}
