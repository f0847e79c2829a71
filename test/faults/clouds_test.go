//go:build faults && linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// A leaver that gets no heartbeat through, while another node holds the lock for a
// reboot that never ends: at its deadline it goes without the lock.
func deadlineWithoutLock(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	leaver, holder := ids[0], ids[1]
	unlock, err := w.lockFor(holder)
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

// lockFor takes the lock in the name of an instance, for a reboot.
func (w *world) lockFor(instance string) (unlock func() error, err error) {
	members, err := w.Members(w.ctx)
	if err != nil {
		return nil, err
	}
	client, err := w.Client(w.Endpoints()...)
	if err != nil {
		return nil, err
	}
	key := "/quorumd/" + hosts.Group + "/lock/members/holders/0"
	value := fmt.Sprintf(`{"version":1,"instance":%q,"boot":"another","member":"%x","cluster":"%x","reason":"reboot","phase":"acting","since":%q}`,
		instance, members[instance].ID, w.Cluster(), time.Now().UTC().Format(time.RFC3339))
	if _, err := client.Put(w.ctx, key, value); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return func() error {
		defer client.Close()
		resp, err := client.Txn(w.ctx).If(clientv3.Compare(clientv3.Value(key), "=", value)).Then(clientv3.OpDelete(key)).Commit()
		if err == nil && !resp.Succeeded {
			err = errors.New("the hold of another did not last")
		}
		return err
	}, nil
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
// cannot hear it.
func metadataAway(w *world) error {
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
	// Its hook runs out meanwhile, and its machine goes as one does that is lost.
	w.ranOut[leader] = true
	w.Excuse(leader)
	if err := w.Terminate(leader); err != nil {
		return err
	}
	return w.wait(40 * time.Second)
}

func awsFails(kind fakeaws.FaultKind) func(*world) error {
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
		return w.during(fakeaws.Fault{Kind: kind, Service: "autoscaling"}, 20*time.Second, func() error { return w.Terminate(leader) })
	}
}

func staleLists(w *world) error {
	leader, err := w.Leader(w.ctx)
	if err != nil {
		return err
	}
	w.Cloud.SetStaleness(20 * time.Second)
	defer w.Cloud.SetStaleness(0)
	if err := w.Terminate(leader); err != nil {
		return err
	}
	_, err = w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.InService })
	return err
}
