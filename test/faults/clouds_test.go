//go:build faults && linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// A leaver that gets no heartbeat through, while an operator holds the lock for another
// node: at its deadline it goes without the lock.
func deadlineWithoutLock(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	leaver, holder := ids[0], ids[1]
	unlock, err := w.LockFor(w.ctx, holder)
	if err != nil {
		return err
	}
	id, err := w.Cloud.AddFault(fakeaws.Fault{Kind: fakeaws.Outage, Service: "autoscaling", Action: "RecordLifecycleActionHeartbeat"})
	if err != nil {
		return err
	}
	if err := w.Terminate(leaver); err != nil {
		return err
	}
	_, err = w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.HookCompleted && e.Instance == leaver })
	w.Cloud.RemoveFault(id)
	return errors.Join(err, unlock(), w.reasonGiven(leaver, "DeadlineRemoveSelf"))
}

// reasonGiven reports whether an agent ever gave a reason.
func (w *world) reasonGiven(id, reason string) error {
	lines, err := w.Host(id).Journal()
	if err != nil {
		return err
	}
	var given []string
	for _, l := range lines {
		if l.Reason == reason {
			return nil
		}
		if l.Concern == "leave" {
			given = append(given, l.Reason)
		}
	}
	return fmt.Errorf("%s never said %s, but %s", id, reason, strings.Join(given, " "))
}

// Spot gives a notice and asks nobody: the member is out before the machine is.
func spotNotice(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	if err := w.sees(ids[0], 3); err != nil { // it waits for as many as there were
		return err
	}
	if err := w.Cloud.InterruptSpot(ids[0], 10*time.Second); err != nil {
		return err
	}
	if _, err := w.event(func(e fakeaws.Event) bool {
		return e.Kind == fakeaws.BecameShuttingDown && e.Instance == ids[0]
	}); err != nil {
		return err
	}
	return w.reasonGiven(ids[0], "DeadlineRemoveSelf")
}

// during has a fault last for a time, while something happens.
func (w *world) during(f fakeaws.Fault, d time.Duration, happens func() error) error {
	id, err := w.Cloud.AddFault(f)
	if err != nil {
		return err
	}
	defer w.Cloud.RemoveFault(id)
	if err := happens(); err != nil {
		return err
	}
	return w.wait(d)
}

// wait lets a fault last.
func (w *world) wait(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// The nodes that there are lose their metadata; one of them is told to go and
// cannot hear it. Either its hook runs out meanwhile, and its machine goes as one does
// that is lost, or it hears late and leaves as it should.
func metadataAway(d time.Duration, runsOut bool) func(*world) error {
	return func(w *world) error {
		leader, err := w.Leader(w.ctx)
		if err != nil {
			return err
		}
		for _, inst := range w.Instances() {
			id, err := w.Cloud.AddFault(fakeaws.Fault{Kind: fakeaws.Outage, Service: "imds", Instance: inst.ID})
			if err != nil {
				return err
			}
			defer w.Cloud.RemoveFault(id)
		}
		if runsOut {
			w.ranOut[leader] = true
			w.Excuse(leader)
		}
		if err := w.Terminate(leader); err != nil {
			return err
		}
		return w.wait(d)
	}
}

func awsFails(kind fakeaws.FaultKind, d time.Duration) func(*world) error {
	return func(w *world) error {
		leader, err := w.Leader(w.ctx)
		if err != nil {
			return err
		}
		id, err := w.Cloud.AddFault(fakeaws.Fault{Kind: kind, Service: "ec2"})
		if err != nil {
			return err
		}
		defer w.Cloud.RemoveFault(id)
		return w.during(fakeaws.Fault{Kind: kind, Service: "autoscaling"}, d, func() error { return w.Terminate(leader) })
	}
}

func staleLists(d time.Duration) func(*world) error {
	return func(w *world) error {
		leader, err := w.Leader(w.ctx)
		if err != nil {
			return err
		}
		w.Cloud.SetStaleness(d)
		defer w.Cloud.SetStaleness(0)
		if err := w.Terminate(leader); err != nil {
			return err
		}
		_, err = w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.InService })
		return err
	}
}

// longWait keeps a leaver from the lock for longer than its hook lasts without
// heartbeats: it stays, and its hook stays open.
func longWait(d time.Duration) func(*world) error {
	return func(w *world) error {
		ids, _, err := w.followers()
		if err != nil {
			return err
		}
		leaver, holder := ids[0], ids[1]
		unlock, err := w.LockFor(w.ctx, holder)
		if err != nil {
			return err
		}
		if err := errors.Join(w.Terminate(leaver), w.wait(d)); err != nil {
			return errors.Join(err, unlock())
		}
		now, err := w.Members(w.ctx)
		if err == nil && !now.Votes(leaver) {
			err = fmt.Errorf("it did not wait for the lock: %s", now)
		}
		if inst, _ := w.Cloud.Instance(leaver); err == nil && inst.Lifecycle != fakeaws.LifecycleTerminatingWait {
			err = fmt.Errorf("its hook is not open any more, it is %s", inst.Lifecycle)
		}
		return errors.Join(err, unlock(), w.reasonGiven(leaver, "AwaitLock"))
	}
}

// quota is of a database that some writes fill, in bytes.
const quota = 8 << 20

// fullDatabase fills etcd's database until it refuses writes, and tells the leader's
// node to go: it leaves, and the lock cannot have been had. Its replacement waits,
// until an operator has made room and disarmed the alarm.
func fullDatabase(w *world) error {
	leader, err := w.Leader(w.ctx)
	if err != nil {
		return err
	}
	client, err := w.Client(w.Endpoints()...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := w.fill(client); err != nil {
		return err
	}
	if err := w.await(leader+" to see the alarm", func() error {
		// The alarm may be another member's: whichever found its database full first.
		s, err := w.status(leader)
		if err == nil && !slices.ContainsFunc(s.Decision.Warnings, func(w peer.Warning) bool { return w.Name == policy.WarnNoSpace }) {
			err = errors.New("it does not")
		}
		return err
	}); err != nil {
		return err
	}
	if err := w.Terminate(leader); err != nil {
		return err
	}
	if _, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.HookCompleted && e.Instance == leader }); err != nil {
		return err
	}
	now, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	if now[leader] != nil || now.Voters() != 2 {
		return fmt.Errorf("after the leave the members are %s", now)
	}
	lines, err := w.Host(leader).Journal()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(lines, func(l hosts.Line) bool { return l.Action == "take-slot" }) {
		return errors.New("it tried to take the lock, which no alarm lets anybody write")
	}
	if alarms, err := client.AlarmList(w.ctx); err != nil || len(alarms.Alarms) == 0 {
		return fmt.Errorf("the alarm is off, so nothing was shown: %w", err)
	}
	return w.makeRoom(now)
}

const filling = "filling/"

// fill writes until etcd refuses it.
func (w *world) fill(client *clientv3.Client) error {
	value := strings.Repeat("x", 256<<10)
	for n := range 4 * quota / len(value) {
		_, err := client.Put(w.ctx, fmt.Sprintf("%s%d", filling, n), value)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the database never was full")
}

// makeRoom is what the README tells an operator to do.
func (w *world) makeRoom(members fleet.Members) error {
	var urls []string
	for _, m := range members {
		urls = append(urls, m.ClientURLs...)
	}
	client, err := w.Client(urls...)
	if err != nil {
		return err
	}
	defer client.Close()
	resp, err := client.Delete(w.ctx, filling, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	return fleet.FreeSpace(w.ctx, client, urls, resp.Header.Revision, quota)
}

// killFollower kills an etcd, which its systemd starts again.
func killFollower(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	return w.KillEtcd(ids[0])
}
