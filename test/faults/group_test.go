//go:build faults && linux

package faults

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// groupLines are the ways in which a group moves instances besides launching and
// terminating them: some of them tell a member to go, and some must not.
func groupLines() []line {
	return []line{
		{name: "in and out of the group", scenarios: []scenario{
			{name: "standby, another replaced meanwhile, and back", within: 90 * time.Second, run: standbyAndBack},
			{name: "detached, and attached again", run: detachedAndBack},
			{name: "set unhealthy", run: setUnhealthy},
			{name: "warm pool: launched into it, out, in and out again", within: 2 * time.Minute, run: warmPool(fakeaws.PoolStopped)},
			{name: "warm pool of running instances", within: 2 * time.Minute, run: warmPool(fakeaws.PoolRunning)},
		}},
		{name: "all replaced one by one", scenarios: []scenario{
			{name: "instance refresh, launching first", within: 2 * time.Minute, run: refreshed(100, 110)},
			{name: "instance refresh, terminating first", within: 2 * time.Minute, run: refreshed(90, 100)},
			{name: "rolling update as of CloudFormation", within: 2 * time.Minute, run: rollingUpdate},
		}},
	}
}

// stays checks for a while that an instance's member votes, and that its agent does not
// think of leaving.
func (w *world) stays(id string, d time.Duration) error {
	return w.holds(d, func() error {
		members, err := w.Members(w.ctx)
		if err != nil {
			return err
		}
		if !members.Votes(id) {
			return fmt.Errorf("%s does not vote: %s", id, members)
		}
		s, err := w.status(id)
		if err == nil && s.Record.Leaving != nil {
			err = fmt.Errorf("%s is leaving", id)
		}
		return err
	})
}

// Standby is not told to go: the leader stays a voter and leads, through the
// replacement of another one.
func standbyAndBack(w *world) error {
	ids, leader, err := w.followers()
	if err != nil {
		return err
	}
	before, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	if err := w.Cloud.EnterStandby(hosts.Group, []string{leader}, true); err != nil {
		return err
	}
	if err := w.stays(leader, 4*time.Second); err != nil {
		return err
	}
	if err := w.Terminate(ids[0]); err != nil {
		return err
	}
	if _, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.LeftGroup && e.Instance == ids[0] }); err != nil {
		return err
	}
	if _, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.InService && !slices.Contains(ids, e.Instance) }); err != nil {
		return err
	}
	if err := w.stays(leader, time.Second); err != nil {
		return err
	}
	if err := w.Cloud.ExitStandby(hosts.Group, []string{leader}); err != nil {
		return err
	}
	return w.sameMember(leader, before[leader].ID)
}

// sameMember: an instance is still the member that it was.
func (w *world) sameMember(id string, member uint64) error {
	after, err := w.Settle(w.ctx)
	if err == nil && after[id].ID != member {
		err = fmt.Errorf("%s is member %x now, was %x", id, after[id].ID, member)
	}
	return err
}

// A detached instance is nobody's to tell to go: its member stays and goes on.
func detachedAndBack(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	before, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	if err := w.Cloud.DetachInstances(hosts.Group, ids[:1], true); err != nil {
		return err
	}
	if err := w.stays(ids[0], 6*time.Second); err != nil {
		return err
	}
	if err := w.Cloud.AttachInstances(hosts.Group, ids[:1]); err != nil {
		return err
	}
	return w.sameMember(ids[0], before[ids[0]].ID)
}

func setUnhealthy(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	if err := w.Cloud.SetHealth(ids[0], false, false); err != nil {
		return err
	}
	_, err = w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.LeftGroup && e.Instance == ids[0] })
	return err
}

// warmPool: an instance is launched into the pool, where it joins nothing and holds up nothing.
// It comes into service and joins, and another one goes back to the pool, which leaves like
// one that is terminated. That one is needed again, and is a new member then.
func warmPool(state string) func(*world) error {
	return func(w *world) error {
		if err := w.Cloud.PutWarmPool(hosts.Group, fakeaws.WarmPool{MaxPrepared: 4, State: state, Reuse: true}); err != nil {
			return err
		}
		fresh, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.EnteredPool })
		if err != nil {
			return err
		}
		members, err := w.Settle(w.ctx)
		if err != nil {
			return err
		}
		if members[fresh.Instance] != nil {
			return fmt.Errorf("%s is a member, though it waits in the warm pool", fresh.Instance)
		}
		if err := w.outOfPool(fresh.Instance); err != nil {
			return err
		}
		if members, err = w.Settle(w.ctx); err != nil {
			return err
		}
		if err := w.Scale(3); err != nil {
			return err
		}
		back, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.EnteredPool && e.Instance != fresh.Instance })
		if err != nil {
			return err
		}
		old := members[back.Instance].ID
		if members, err = w.Settle(w.ctx); err != nil {
			return err
		}
		if members[back.Instance] != nil {
			return fmt.Errorf("%s is still a member, though it went back to the warm pool", back.Instance)
		}
		if err := w.outOfPool(back.Instance); err != nil {
			return err
		}
		if members, err = w.Settle(w.ctx); err != nil {
			return err
		}
		if members[back.Instance].ID == old {
			return fmt.Errorf("%s is member %x again, which was removed", back.Instance, old)
		}
		return errors.Join(w.Cloud.DeleteWarmPool(hosts.Group, true), w.Scale(3))
	}
}

// outOfPool scales to four and waits until the instance from the pool is in service.
func (w *world) outOfPool(id string) error {
	from := len(w.Cloud.Events())
	if err := w.Scale(4); err != nil {
		return err
	}
	_, err := w.event(func(e fakeaws.Event) bool { return e.Seq > from && e.Kind == fakeaws.InService && e.Instance == id })
	return err
}

// refreshed lets an instance refresh replace all three.
func refreshed(lowest, highest int) func(*world) error {
	return func(w *world) error {
		old, from := w.Instances(), len(w.Cloud.Events())
		if _, err := w.Cloud.StartRefresh(hosts.Group, fakeaws.RefreshConfig{MinHealthy: &lowest, MaxHealthy: &highest}); err != nil {
			return err
		}
		end, err := w.event(func(e fakeaws.Event) bool { return e.Seq > from && e.Kind == fakeaws.RefreshEnded })
		if err != nil {
			return err
		}
		if !strings.HasSuffix(end.Note, fakeaws.RefreshSuccessful) {
			return fmt.Errorf("refresh %s", end.Note)
		}
		return w.allNew(old)
	}
}

func (w *world) allNew(old []fakeaws.Instance) error {
	members, err := w.Settle(w.ctx)
	if err != nil {
		return err
	}
	for _, inst := range old {
		if members[inst.ID] != nil {
			return fmt.Errorf("%s is still a member: %s", inst.ID, members)
		}
	}
	return nil
}

// rollingUpdate is CloudFormation's: batches of one, and the next as soon as the new one is
// in service, whether or not the old one has gone; some processes are suspended meanwhile.
func rollingUpdate(w *world) error {
	quiet := []string{fakeaws.ProcessHealthCheck, fakeaws.ProcessReplaceUnhealthy, "AZRebalance", "AlarmNotification", "ScheduledActions"}
	if err := w.Cloud.Suspend(hosts.Group, quiet...); err != nil {
		return err
	}
	old := w.Instances()
	for _, inst := range old {
		from := len(w.Cloud.Events())
		if err := w.Terminate(inst.ID); err != nil {
			return err
		}
		if _, err := w.event(func(e fakeaws.Event) bool { return e.Seq > from && e.Kind == fakeaws.InService }); err != nil {
			return err
		}
	}
	return errors.Join(w.allNew(old), w.Cloud.Resume(hosts.Group, quiet...))
}
