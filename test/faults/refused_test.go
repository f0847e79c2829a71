//go:build faults && linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

const instanceType = "m7g.medium"

// refusedLine is a group that counts with weights: that its agents refuse it is all that
// happens until it has none.
func refusedLine() line {
	return line{name: "a group with weights", fresh: true, waits: true,
		cfg: func(c *hosts.Config) {
			c.Overrides = []fakeaws.Override{{Type: instanceType, Weight: 1}}
			c.Hook = 4 * time.Second
		},
		scenarios: []scenario{{name: "refused, until the weights are gone", run: weighted}}}
}

// weighted: every agent says that it refuses, in its journal and to other agents, and
// leaves no mark on disk, group or machine; for longer than its launch hook is open
// without heartbeats, because another instance could not join either.
func weighted(w *world) error {
	if err := w.Launch(3); err != nil {
		return err
	}
	if err := w.await("three machines", func() error {
		if n := len(w.Hosts()); n != 3 {
			return fmt.Errorf("%d are on", n)
		}
		return nil
	}); err != nil {
		return err
	}
	nodes := w.Hosts()
	for _, h := range nodes {
		if err := w.says(h.ID, string(policy.WeightedCapacity)); err != nil {
			return err
		}
	}
	if err := w.holds(6*time.Second, func() error {
		for _, h := range nodes {
			if err := w.untouched(h, policy.WeightedCapacity, hosts.Group); err != nil {
				return fmt.Errorf("%s: %w", h.ID, err)
			}
		}
		return w.untagged()
	}); err != nil {
		return err
	}
	return w.Cloud.UpdateGroup(hosts.Group, fakeaws.Update{Overrides: []fakeaws.Override{{Type: instanceType}}})
}

// untouched: a node is on and joins nothing, for this reason: it has promised nothing, and its
// etcd has no data and does not run.
func (w *world) untouched(h *hosts.Host, why policy.Reason, detail string) error {
	m := h.Machine()
	if m == nil || m.UnitPID(hosts.EtcdUnit) != 0 {
		return errors.New("it is off, or runs etcd")
	}
	if left, err := os.ReadDir(h.DataDir()); len(left) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("its data directory has %v: %v", left, err)
	}
	s, err := w.status(h.ID)
	if err != nil {
		return err
	}
	if want := (peer.Record{Instance: h.ID}); s.Record != want {
		return fmt.Errorf("its record is %+v", s.Record)
	}
	for _, v := range s.Decision.Concerns {
		if v == (peer.Verdict{Concern: "join", Reason: string(why), Detail: detail}) {
			return nil
		}
	}
	return fmt.Errorf("it says %v", s.Decision.Concerns)
}

// untagged: nobody has written a cluster's id on the group.
func (w *world) untagged() error {
	if g, _ := w.Cloud.Group(hosts.Group); len(g.Tags) > 0 {
		return fmt.Errorf("the group has tags %v", g.Tags)
	}
	return nil
}
