//go:build faults && linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/test/hosts"
	"github.com/quorumd/quorumd/units"
)

// rebootLines are fleets whose machines want to be rebooted.
func rebootLines() []line {
	return []line{
		{name: "reboots", scenarios: []scenario{
			{name: "all three want a reboot at once", within: 3 * time.Minute, run: allWantReboot},
			{name: "the leader told to go while another reboots", within: 2 * time.Minute, run: goDuringReboot},
			{name: "an update while the leader leaves", within: 2 * time.Minute, run: rebootDuringLeave},
			{name: "etcd restarted under a holder", within: 2 * time.Minute, run: restartUnderHolder},
			{name: "a script that fails", within: 2 * time.Minute, run: failingScript},
			{name: "a holder that does not come back", within: 3 * time.Minute, run: holderLost},
		}},
	}
}

// boots gives the boot id of every machine that is on.
func (w *world) boots() (map[string]string, error) {
	out := map[string]string{}
	for _, h := range w.Hosts() {
		m := h.Machine()
		if m == nil {
			continue
		}
		id, err := units.BootID(m.BootIDFile())
		if err != nil {
			return nil, err
		}
		out[h.ID] = id
	}
	return out, nil
}

// update has an update of a machine wait for its reboot, as Flatcar's update service
// says it.
func (w *world) update(id string) error {
	m := w.Host(id).Machine()
	if m == nil {
		return fmt.Errorf("%s is off", id)
	}
	m.SetUpdate(units.UpdateStatus{Operation: units.UpdateNeedReboot, NewVersion: "2.0"})
	return nil
}

// rebooted waits until these machines have rebooted, and the lock is free, and sees
// that never two of a whole fleet are off.
func (w *world) rebooted(old map[string]string, ids ...string) error {
	n := len(w.Hosts())
	return w.await(fmt.Sprintf("%v to reboot", ids), func() error {
		if on := len(w.Hosts()); on < n-1 {
			return fmt.Errorf("%d machines of %d are on", on, n)
		}
		now, err := w.boots()
		if err != nil {
			return err
		}
		for _, id := range ids {
			if now[id] == "" || now[id] == old[id] {
				return fmt.Errorf("%s has not rebooted", id)
			}
		}
		return w.lockFree()
	})
}

// lockFree: nobody holds the disruption lock.
func (w *world) lockFree() error {
	for _, h := range w.Hosts() {
		s, err := w.status(h.ID)
		if err != nil || s.Lock == nil {
			return fmt.Errorf("%s does not tell the lock: %w", h.ID, err)
		}
		if len(s.Lock.Holders) > 0 {
			return fmt.Errorf("%s holds the lock (%s)", s.Lock.Holders[0].Instance, s.Lock.Holders[0].Reason)
		}
	}
	return nil
}

// lineOf waits for what a host's agent says of an action, from now on.
func (w *world) lineOf(id, msg, action string) <-chan error {
	out, seen := make(chan error, 1), make(chan struct{}, 1)
	cancel := w.Follow(func(l hosts.Line) {
		if l.Host.ID == id && l.Msg == msg && l.Action == action {
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	})
	go func() {
		defer cancel()
		select {
		case <-seen:
			out <- nil
		case <-w.ctx.Done():
			out <- fmt.Errorf("%s never said %s %s", id, msg, action)
		}
	}()
	return out
}

func goDuringReboot(w *world) error {
	ids, leader, err := w.followers()
	if err != nil {
		return err
	}
	old, err := w.boots()
	if err != nil {
		return err
	}
	wait := w.lineOf(ids[0], hosts.Acted, "mark-acting")
	if err := w.update(ids[0]); err != nil {
		return err
	}
	if err := <-wait; err != nil {
		return err
	}
	if err := w.Terminate(leader); err != nil {
		return err
	}
	return w.rebooted(old, ids[0])
}

func rebootDuringLeave(w *world) error {
	ids, leader, err := w.followers()
	if err != nil {
		return err
	}
	old, err := w.boots()
	if err != nil {
		return err
	}
	wait := w.lineOf(leader, hosts.Acting, "take-slot")
	if err := w.Terminate(leader); err != nil {
		return err
	}
	if err := <-wait; err != nil {
		return err
	}
	if err := w.update(ids[0]); err != nil {
		return err
	}
	return w.rebooted(old, ids[0])
}

// script puts a script into a host's pre-reboot.d.
func script(h *hosts.Host, text string) (remove func() error, err error) {
	dir := filepath.Join(h.Dir, "scripts", "pre-reboot.d")
	path := filepath.Join(dir, "10-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(path) }, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755)
}

// While the holder's script runs, the etcd of another member and its own are killed:
// the slot is given back or kept, and in the end the node is rebooted.
func restartUnderHolder(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	old, err := w.boots()
	if err != nil {
		return err
	}
	remove, err := script(w.Host(ids[0]), "sleep 3")
	if err != nil {
		return err
	}
	if err := w.update(ids[0]); err != nil {
		return err
	}
	if err := w.says(ids[0], "RunBefore"); err != nil {
		return err
	}
	for _, id := range ids {
		if m := w.Host(id).Machine(); m != nil {
			if err := m.KillUnit(hosts.EtcdUnit, syscall.SIGKILL); err != nil {
				return err
			}
		}
	}
	return errors.Join(w.rebooted(old, ids[0]), remove())
}

func failingScript(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	old, err := w.boots()
	if err != nil {
		return err
	}
	remove, err := script(w.Host(ids[0]), "exit 1")
	if err != nil {
		return err
	}
	if err := errors.Join(w.update(ids[0]), w.says(ids[0], "ScriptFailed")); err != nil {
		return err
	}
	// Others are not held up by it.
	if err := w.update(ids[1]); err != nil {
		return err
	}
	if err := w.rebooted(old, ids[1]); err != nil {
		return err
	}
	now, err := w.boots()
	if err != nil {
		return err
	}
	if now[ids[0]] != old[ids[0]] {
		return errors.New("it was rebooted although its script failed")
	}
	// A new process of the agent does not wait out the pause.
	if err := errors.Join(remove(), w.Host(ids[0]).Machine().KillUnit(hosts.AgentUnit, syscall.SIGKILL)); err != nil {
		return err
	}
	return w.rebooted(old, ids[0])
}

// A machine that stays off holds the lock for as long as EC2 says that it runs, and
// not a moment longer than EC2 says that it is gone.
func holderLost(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	old, err := w.boots()
	if err != nil {
		return err
	}
	dead := w.Host(ids[0])
	dead.Dies()
	if err := w.update(dead.ID); err != nil {
		return err
	}
	if err := w.await(dead.ID+" to be off", func() error {
		if dead.Machine() != nil {
			return errors.New("it is on")
		}
		return nil
	}); err != nil {
		return err
	}
	if err := w.update(ids[1]); err != nil {
		return err
	}
	if err := w.holds(10*time.Second, func() error {
		if now, err := w.boots(); err != nil || now[ids[1]] != old[ids[1]] {
			return fmt.Errorf("%s was rebooted while another is not back: %w", ids[1], err)
		}
		return nil
	}); err != nil {
		return err
	}
	others := slices.DeleteFunc(w.Hosts(), func(h *hosts.Host) bool { return h.ID == dead.ID })
	s, err := w.status(others[0].ID)
	if err != nil || s.Lock == nil || len(s.Lock.Holders) != 1 || s.Lock.Holders[0].Instance != dead.ID {
		return fmt.Errorf("its hold was evicted without proof: %+v, %w", s.Lock, err)
	}
	if err := w.Cloud.TerminateInstance(dead.ID); err != nil {
		return err
	}
	return w.rebooted(old, ids[1])
}
