//go:build faults && linux

package faults

import (
	"errors"
	"slices"
	"strings"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// form forms a first cluster whose every agent dies at every point.
func (k *striker) form(w *world, round int) error {
	k.arm(at(tagging, round, "", nil)...)
	machines := 0
	// A host's strikes are armed with its first line, which comes before its first action.
	seen := map[string]bool{}
	cancel := w.Follow(func(l hosts.Line) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !seen[l.Host.ID] {
			seen[l.Host.ID] = true
			k.armed = append(k.armed, at(forming, round-round%3+(round+machines)%3, l.Host.ID, nil)...)
			machines++
		}
	})
	defer cancel()
	if err := w.Launch(3); err != nil {
		return err
	}
	_, err := w.Settle(w.ctx)
	return err
}

// replace has the leader's node replaced, and kills the one that leaves and the one
// that joins at every point, and the one that promotes.
func (k *striker) replace(w *world, round int) error {
	leader, err := w.Leader(w.ctx)
	if err != nil {
		return err
	}
	old := map[string]bool{}
	for _, inst := range w.Instances() {
		old[inst.ID] = true
	}
	k.arm(slices.Concat(at(leaving, round, leader, nil), at(joining, round, "", old), at(promoting, round, "", nil))...)
	return w.Terminate(leader)
}

// reboot has the leader's machine rebooted for an update, and kills its agent at every
// point before and after.
func (k *striker) reboot(w *world, round int) error {
	leader, err := w.Leader(w.ctx)
	if err != nil {
		return err
	}
	old, err := w.boots()
	if err != nil {
		return err
	}
	k.arm(at(rebooting, round, leader, nil)...)
	if err := w.update(leader); err != nil {
		return err
	}
	return w.rebooted(old, leader)
}

// rejoin has somebody remove a member by hand, which its node finds out, and kills its
// agent at every point of archiving the data and joining anew.
func (k *striker) rejoin(w *world, round int) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	k.arm(at(rejoining, round, ids[0], nil)...)
	return w.removeByHand(ids[0])
}

// change has a fourth instance come when the first node has promised a list of three, and
// kills the one that withdraws its promise. Another machine is off meanwhile: without it
// nobody can have agreed before the change is seen.
func (k *striker) change(w *world, round int) error {
	k.arm(at(unsettled, round, "", nil)...)
	launch := func() error { return w.Launch(3) }
	return w.atReason(hosts.Acting, "PromiseFirst", launch, func(first *hosts.Host) error {
		off := w.Hosts()[0]
		if off == first {
			off = w.Hosts()[1]
		}
		if err := errors.Join(w.PowerOff(off.ID), w.Scale(4)); err != nil {
			return err
		}
		if err := w.await("an agent to die of its withdrawal", func() error {
			if open := k.open(); len(open) > 0 {
				return errors.New(open[0])
			}
			return nil
		}); err != nil {
			return err
		}
		return w.PowerOn(off.ID)
	})
}

// lose has one node lose its record, then another one its disk, then the first one all of
// itself, and kills the agent that takes over its data, the one that removes its own old member,
// and the one that removes the dead member.
func (k *striker) lose(w *world, round int) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	forgets, wiped := w.Host(ids[0]), w.Host(ids[1])
	k.arm(at(forgotten, round, forgets.ID, nil)...)
	if err := w.whileOff(forgets, func() error { return empty(forgets.StateDir()) }); err != nil {
		return err
	}
	if err := k.through(w); err != nil {
		return err
	}
	k.arm(at(wipedOut, round, wiped.ID, nil)...)
	if err := w.whileOff(wiped, func() error { return errors.Join(empty(wiped.DataDir()), empty(wiped.StateDir())) }); err != nil {
		return err
	}
	if err := k.through(w); err != nil {
		return err
	}
	k.arm(at(dead, round, "", nil)...)
	return w.Lose(forgets.ID)
}

// pool has an instance go to the warm pool and come back into service, and kills its
// agent when that takes its leave back.
func (k *striker) pool(w *world, round int) error {
	reuse := fakeaws.WarmPool{MaxPrepared: 3, State: fakeaws.PoolRunning, Reuse: true}
	if err := errors.Join(w.Cloud.PutWarmPool(hosts.Group, reuse), w.Scale(2)); err != nil {
		return err
	}
	back, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.EnteredPool })
	if err != nil {
		return err
	}
	k.arm(at(pooled, round, back.Instance, nil)...)
	return w.Scale(3)
}

// afresh has all nodes lose their data at once, and an operator say on each that its
// cluster is gone for good; it kills the agent that is told so first.
func (k *striker) afresh(w *world, round int) error {
	nodes := w.Hosts()
	for _, h := range nodes {
		if err := w.PowerOff(h.ID); err != nil {
			return err
		}
	}
	for _, h := range nodes {
		if err := errors.Join(empty(h.DataDir()), w.PowerOn(h.ID)); err != nil {
			return err
		}
	}
	w.Anew()
	w.startWriter()
	k.arm(at(afresh, round, nodes[0].ID, nil)...)
	for _, h := range nodes {
		// A refusal may come when the node has forgotten already, and the cluster is there
		// then: there is nothing left to ask for.
		if err := w.await("bootstrap --fresh on "+h.ID, func() error {
			err := w.fresh(h)
			if err != nil && strings.Contains(err.Error(), "nothing to start anew") {
				err = nil
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
