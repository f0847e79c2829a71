//go:build faults && linux

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// atReason does something when an agent first acts for a reason (says that it
// acts, or that it has acted).
func (w *world) atReason(msg, reason string, begin func() error, do func(*hosts.Host) error) error {
	seen := make(chan *hosts.Host, 1)
	defer w.Follow(func(l hosts.Line) {
		if l.Msg == msg && l.Reason == reason {
			select {
			case seen <- l.Host:
			default:
			}
		}
	})()
	if err := begin(); err != nil {
		return err
	}
	select {
	case h := <-seen:
		return do(h)
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// resizeAt changes what the group wants while a cluster of three forms.
func resizeAt(reason string, desired int) func(*world) error {
	return func(w *world) error {
		return w.atReason(hosts.Acting, reason, func() error { return w.Launch(3) }, func(*hosts.Host) error {
			if err := w.Scale(desired); err != nil {
				return err
			}
			for _, inst := range w.Instances() {
				if !inst.NoticeAt.IsZero() {
					w.Excuse(inst.ID) // there is no member list yet that it could be out of
				}
			}
			return nil
		})
	}
}

// goAt tells a node to go that forms a first cluster.
func goAt(reason string) func(*world) error {
	return func(w *world) error {
		return w.atReason(hosts.Acting, reason, func() error { return w.Launch(3) }, func(h *hosts.Host) error {
			w.Excuse(h.ID)
			w.ranOut[h.ID] = true // its launch hook: nobody needs it any more
			return w.Terminate(h.ID)
		})
	}
}

// The third machine boots later than the others: there is no cluster without it.
func oneLate(by time.Duration) func(*world) error {
	return func(w *world) error {
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
		late := w.Hosts()[2]
		if err := w.PowerOff(late.ID); err != nil {
			return err
		}
		if err := w.holds(by, func() error {
			for _, h := range w.Hosts() {
				if m := h.Machine(); m != nil && m.UnitPID(hosts.EtcdUnit) != 0 {
					return fmt.Errorf("etcd runs on %s without %s", h.ID, late.ID)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		return w.PowerOn(late.ID)
	}
}

// wiped empties a machine's disk while it is off: all of it, or only etcd's data,
// with the drop-in of another time, that names members that there never were.
func wiped(all bool) func(*world) error {
	return func(w *world) error {
		ids, _, err := w.followers()
		if err != nil {
			return err
		}
		h := w.Host(ids[0])
		before, err := w.Members(w.ctx)
		if err != nil {
			return err
		}
		if err := w.whileOff(h, func() error {
			if err := empty(h.DataDir()); err != nil || !all {
				return errors.Join(err, staleInitialCluster(h))
			}
			return empty(h.StateDir())
		}); err != nil {
			return err
		}
		return w.newMember(before, h.ID)
	}
}

// whileOff does something to a machine's disk without its power.
func (w *world) whileOff(h *hosts.Host, do func() error) error {
	if err := w.PowerOff(h.ID); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return w.PowerOn(h.ID)
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// staleInitialCluster takes the first and the last line of what etcd starts with
// to another time.
func staleInitialCluster(h *hosts.Host) error {
	path := filepath.Join(h.Dir, "system", hosts.EtcdUnit+".d", "90-quorumd.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const key = "ETCD_INITIAL_CLUSTER="
	if !bytes.Contains(text, []byte(key)) {
		return fmt.Errorf("%s has no %s", path, key)
	}
	return os.WriteFile(path, bytes.ReplaceAll(text, []byte(key), []byte(key+"i-stranger=http://127.255.255.254:2380,")), 0o644)
}

// removeByHand removes a voter as an operator may, and waits until its node is back
// as another member.
func (w *world) removeByHand(id string) error {
	before, err := w.Remove(w.ctx, id)
	if err != nil {
		return err
	}
	return w.newMember(before, id)
}

// newMember waits until an instance votes under another member id.
func (w *world) newMember(before fleet.Members, id string) error {
	return w.await("a new member", func() error {
		ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
		defer cancel()
		now, err := w.Members(ctx)
		if err == nil && (now[id] == nil || now[id].ID == before[id].ID || now[id].IsLearner) {
			err = fmt.Errorf("members are %s", now)
		}
		return err
	})
}

// diskOfAnother gives a node that is off a copy of all of another's disk, as an image
// of a running machine does. Its etcd is allowed to start at boot, but the copied
// drop-in binds the other's address, which keeps it from running twice until the agent
// has archived it. (Data and state_dir alone, on a node with drop-ins of its own, do
// start: two members with one id, and the copy's raft log panics. Nothing but the
// agent keeps that from happening, and etcd may be quicker.)
func diskOfAnother(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	copied, original := w.Host(ids[0]), w.Host(ids[1])
	before, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	if err := w.PowerOff(copied.ID); err != nil {
		return err
	}
	for to, from := range map[string]string{
		copied.DataDir(): original.DataDir(), copied.StateDir(): original.StateDir(),
		filepath.Join(copied.Dir, "system"): filepath.Join(original.Dir, "system"),
	} {
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
			return err
		}
	}
	if err := w.PowerOn(copied.ID); err != nil {
		return err
	}
	return w.newMember(before, copied.ID)
}

// powerCut takes the power of all machines at once, and gives it back.
func powerCut(w *world) error {
	on := w.Hosts()
	for _, h := range on {
		if err := w.PowerOff(h.ID); err != nil {
			return err
		}
	}
	for _, h := range on {
		if err := w.PowerOn(h.ID); err != nil {
			return err
		}
	}
	return nil
}

// Everything ends, at once and by the group's own word, and comes again later: a new
// cluster only where an operator says so.
func toZero(w *world) error {
	all := w.Hosts()
	if err := w.Scale(0); err != nil {
		return err
	}
	if err := w.await("the group to be empty", func() error {
		if n := len(w.Instances()); n != 0 {
			return fmt.Errorf("it has %d instances", n)
		}
		return nil
	}); err != nil {
		return err
	}
	// Nobody waited for a lock or a quorum: nothing was left to protect.
	for _, h := range all {
		if err := w.reasonGiven(h.ID, "GroupEnds"); err != nil {
			return err
		}
	}
	if err := w.Scale(3); err != nil {
		return err
	}
	return w.sitStillThenFresh()
}

// All machines are lost, and replaced: there is no cluster, and no new one, before an
// operator says so.
func allLost(w *world) error {
	for _, inst := range w.Instances() {
		if err := w.Lose(inst.ID); err != nil {
			return err
		}
	}
	return w.sitStillThenFresh()
}

func (w *world) sitStillThenFresh() error {
	if err := w.await("three machines", func() error {
		if n := len(w.Hosts()); n != 3 || len(w.Instances()) != 3 {
			return fmt.Errorf("%d are on", n)
		}
		return nil
	}); err != nil {
		return err
	}
	nodes := w.Hosts()
	for _, h := range nodes {
		if err := w.says(h.ID, "ClusterMissing"); err != nil {
			return err
		}
	}
	if err := w.holds(5*time.Second, func() error {
		for _, h := range nodes {
			if m := h.Machine(); m == nil || m.UnitPID(hosts.EtcdUnit) != 0 {
				return fmt.Errorf("%s did not sit still", h.ID)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	w.Anew()
	w.startWriter()
	if err := w.fresh(nodes[0]); err != nil {
		return err
	}
	_, err := w.event(func(e fakeaws.Event) bool { return e.Kind == fakeaws.InService && e.Instance == nodes[0].ID })
	return err
}

// fresh is the operator's word to a host's agent that the cluster is gone for good.
func (w *world) fresh(h *hosts.Host) error {
	out, err := exec.CommandContext(w.ctx, w.Binaries().Quorumd, "bootstrap", "--fresh", "--yes",
		"--control", h.ControlSocket()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("bootstrap --fresh: %w\n%s", err, out)
	}
	return nil
}
