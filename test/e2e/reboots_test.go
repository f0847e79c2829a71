//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// Machines reboot, really, through logind, because an update waits for it; Flatcar's
// update service on their system bus is the lab's own (package updateengine).
func TestReboots(t *testing.T) {
	t.Parallel()
	f := New(t, Config{Provision: updatable})
	f.Settle(f.Within(forBootstrap))

	f.step("an update for all three at once", forOneChange, f.updateAll)
	f.step("a FleetLock client of the leader's node, through its reboot", forOneChange, f.clientReboots)
	f.step("the agent killed: queued, granted, acting, after the boot", forOneChange, f.killWhileRebooting)
	f.step("etcd of the holder and of another killed, before and after the reboot", forOneChange, f.restartUnderHolder)
	f.step("cut off the leader while it holds, before and after the reboot", forOneChange, f.cutUnderHolder)
	f.step("cut the two others from each other while the leader holds", forOneChange, f.cutBehindHolder)
	f.step("the holder stays off, and EC2 says running", forOneChange, f.holderOff)
	f.step("the holder stays off, and EC2 says terminated", forOneChange, f.holderTerminated)
	f.step("the leader told to go while another reboots", forOneChange, f.goWhileRebooting)
	f.step("an update while the leader leaves", forOneChange, f.updateWhileLeaving)
}

// The oldest and the newest etcd that are supported.
func TestRebootsOfEtcd(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.5", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := New(t, Config{Etcd: version, Provision: updatable})
			f.Settle(f.Within(forBootstrap))
			f.step("an update for all three at once", forOneChange, f.updateAll)
		})
	}
}

// Files on a host: while they are there, its scripts before or after a reboot go on.
const (
	waitBefore = "/etc/lab/wait-before"
	waitAfter  = "/etc/lab/wait-after"
	scriptsLog = "/var/lib/reboot-scripts"
)

var buildUpdateEngine = sync.OnceValues(func() (string, error) { return compile("./test/e2e/updateengine") })

// updatable gives a host an update service, and scripts that say when they ran.
func updatable(h *lab.Host) error {
	engine, err := buildUpdateEngine()
	if err != nil {
		return err
	}
	h.Bind(engine, "/srv/updateengine")
	const unit = "update-engine.service"
	script := func(when, wait string) string {
		return "#!/bin/sh\necho " + when + " $(cat /run/boot-id) >>" + scriptsLog + "\nwhile test -e " + wait + "; do sleep 0.1; done\n"
	}
	err = errors.Join(
		h.WriteFile("/etc/dbus-1/system.d/com.coreos.update1.conf", []byte(`<busconfig>
  <policy user="root">
    <allow own="com.coreos.update1"/>
    <allow send_destination="com.coreos.update1"/>
  </policy>
</busconfig>
`), 0o644),
		h.WriteFile(unitDir+"/"+unit, []byte("[Service]\nType=dbus\nBusName=com.coreos.update1\nExecStart=/srv/updateengine\n"), 0o644),
		h.WriteFile("/etc/quorumd/pre-reboot.d/10-lab", []byte(script("before", waitBefore)), 0o755),
		h.WriteFile("/etc/quorumd/post-reboot.d/10-lab", []byte(script("after", waitAfter)), 0o755))
	return errors.Join(err, h.Enable(unit))
}

// update has an update of a host wait for its reboot.
func (f *Fleet) update(ctx context.Context, h *lab.Host) {
	f.t.Helper()
	f.state(ctx, h, "update-engine.service", "ActiveState", "active")
	f.must(attemptUpdate(ctx, h))
}

func attemptUpdate(ctx context.Context, h *lab.Host) error {
	_, err := h.Exec(ctx, "busctl", "call", "com.coreos.update1", "/com/coreos/update1", "com.coreos.update1.Manager", "AttemptUpdate")
	return err
}

// keep makes a script of a host go on until it is let go.
func (f *Fleet) keep(h *lab.Host, path string) {
	f.t.Helper()
	f.must(h.WriteFile(path, nil, 0o644))
}

func (f *Fleet) letGo(ctx context.Context, h *lab.Host, path string) {
	f.t.Helper()
	f.exec(ctx, h, "rm", path)
}

// stays fails once a host is in another boot than this one, or off.
func stays(h *lab.Host, boot string) error {
	if now := h.BootID(); now != boot {
		return fmt.Errorf("%s was rebooted: boot id %q, then %q", h.Spec.Hostname, boot, now)
	}
	return nil
}

// updateAll: each is rebooted once, one after the other, and the application does not
// notice more than a hand-over of leadership.
func (f *Fleet) updateAll(ctx context.Context, before fleet.Members) {
	began, w := time.Now(), f.watchTurns(ctx)
	var ids, old []string
	for _, inst := range f.Instances() {
		h := f.Host(inst.ID)
		f.state(ctx, h, "update-engine.service", "ActiveState", "active")
		ids, old = append(ids, inst.ID), append(old, h.BootID())
	}
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			if err := attemptUpdate(ctx, f.Host(id)); err != nil {
				f.t.Error(err)
			}
		})
	}
	all.Wait()
	w.rebooted(ctx, ids...)
	f.wantKept(ctx, before, len(before))
	for i, id := range ids {
		h := f.Host(id)
		want := fmt.Sprintf("before %s\nafter %s\n", old[i], h.BootID())
		if ran, err := h.ReadFile(scriptsLog); err != nil || string(ran) != want {
			f.t.Errorf("the scripts of %s wrote %q, want %q: %v", id, ran, want, err)
		}
	}
	stall := f.Writer.Stall(began, time.Now())
	f.t.Logf("longest time without a write: %.2fs", stall.Seconds())
	if stall > plannedGap {
		f.t.Errorf("no write was acknowledged for %.1fs, at most %.1fs wanted", stall.Seconds(), plannedGap.Seconds())
	}
}

// clientReboots: the leader's own update agent asks for the lock by FleetLock's protocol. It
// is refused while what comes before a reboot runs, reboots the machine once it is granted, and
// says so when it is back.
func (f *Fleet) clientReboots(ctx context.Context, before fleet.Members) {
	w, id := f.watchTurns(ctx), f.Leader(ctx)
	h := f.Host(id)
	boot := h.BootID()
	ran, err := h.ReadFile(scriptsLog)
	f.must(err)
	f.keep(h, waitBefore)
	f.fleetLock(ctx, h, "pre-reboot", string(policy.RunBefore))
	f.letGo(ctx, h, waitBefore)
	f.fleetLock(ctx, h, "pre-reboot", "")
	f.must(stays(h, boot))
	_, _ = h.Exec(ctx, "systemctl", "reboot") // which may end it, too
	_, err = h.WaitReboot(ctx, boot)
	f.must(err)
	f.fleetLock(ctx, h, "steady-state", "")
	w.rebooted(ctx, id)
	f.wantKept(ctx, before, len(before))
	want := fmt.Sprintf("%sbefore %s\nafter %s\n", ran, boot, h.BootID())
	if ran, err = h.ReadFile(scriptsLog); err != nil || string(ran) != want {
		f.t.Errorf("the scripts of %s wrote %q, want %q: %v", id, ran, want, err)
	}
}

// fleetLock asks a host's agent as a FleetLock client on it does, until it is refused with a
// word, or with none until it is granted.
func (f *Fleet) fleetLock(ctx context.Context, h *lab.Host, question, word string) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s on %s to be answered %q", question, h.Spec.Hostname, word), func(ctx context.Context) error {
		out, err := h.Exec(ctx, "curl", "-sS", "-m", "40", "-w", "\n%{http_code}", "-H", "fleet-lock-protocol: true",
			"-d", `{"client_params": {"id": "a client", "group": "default"}}`, "http://127.0.0.1:2383/v1/"+question)
		end := strings.LastIndex(string(out), "\n")
		body, code := string(out[:max(0, end)]), string(out[end+1:])
		var no struct{ Kind string }
		if code != "200" && err == nil {
			err = json.Unmarshal([]byte(body), &no)
		}
		if err != nil || no.Kind != word || (code == "200") != (word == "") {
			return fmt.Errorf("the answer is %q: %w", out, err)
		}
		return nil
	})
}

// killAgent kills an agent and waits until systemd has started it again.
func (f *Fleet) killAgent(ctx context.Context, h *lab.Host) {
	f.t.Helper()
	starts := func() int {
		n, err := strconv.Atoi(f.exec(ctx, h, "systemctl", "show", "--value", "--property=NRestarts", "quorumd.service"))
		f.must(err)
		return n
	}
	n := starts()
	if h.Kill("quorumd.service", syscall.SIGKILL) == 0 {
		f.t.Fatalf("no agent ran on %s", h.Spec.Hostname)
	}
	f.until(ctx, "systemd to start the agent again", func(context.Context) error {
		if starts() == n {
			return errors.New("it did not")
		}
		return nil
	})
	f.state(ctx, h, "quorumd.service", "ActiveState", "active")
}

// killWhileRebooting kills the agent of a node in its queue, with the lock held, with the
// hold acting and logind not asked yet, and when it is back before it gives the lock back.
func (f *Fleet) killWhileRebooting(ctx context.Context, before fleet.Members) {
	ids, w := f.followers(ctx), f.watchTurns(ctx)
	id, h := ids[0], f.Host(ids[0])
	boot := h.BootID()
	f.keep(h, waitBefore)
	f.keep(h, waitAfter)

	unlock, err := f.LockFor(ctx, ids[1])
	f.must(err)
	f.update(ctx, h)
	f.reason(ctx, id, "reboot", string(policy.AwaitLock))
	f.killAgent(ctx, h)
	f.reason(ctx, id, "reboot", string(policy.AwaitLock))
	f.must(unlock())

	f.reason(ctx, id, "reboot", string(policy.RunBefore))
	f.killAgent(ctx, h)
	f.reason(ctx, id, "reboot", string(policy.RunBefore))

	// logind answers nothing, so the agent has not asked it for the reboot when it is killed.
	f.must(h.Freeze(ctx, "systemd-logind.service"))
	f.letGo(ctx, h, waitBefore)
	f.holdsLock(ctx, id, policy.Acting)
	f.killAgent(ctx, h)
	f.must(stays(h, boot))
	f.holdsLock(ctx, id, policy.Acting)
	f.must(h.Thaw(ctx, "systemd-logind.service"))

	_, err = h.WaitReboot(ctx, boot)
	f.must(err)
	f.reason(ctx, id, "reboot", string(policy.RunAfter))
	f.killAgent(ctx, h)
	f.reason(ctx, id, "reboot", string(policy.RunAfter))
	f.holdsLock(ctx, id, policy.Acting)
	f.letGo(ctx, h, waitAfter)
	w.rebooted(ctx, id)
	f.wantKept(ctx, before, len(before))
}

// restartUnderHolder: two of three members are killed, so there is no quorum, while a
// node has the lock. In the end it is rebooted, once.
func (f *Fleet) restartUnderHolder(ctx context.Context, before fleet.Members) {
	ids, w := f.followers(ctx), f.watchTurns(ctx)
	id, h := ids[0], f.Host(ids[0])
	boot := h.BootID()
	kill := func() {
		f.t.Helper()
		for _, id := range ids {
			if f.Host(id).Kill("etcd-member.service", syscall.SIGKILL) == 0 {
				f.t.Fatalf("no etcd ran on %s", id)
			}
		}
	}
	f.keep(h, waitBefore)
	f.keep(h, waitAfter)
	f.update(ctx, h)
	f.reason(ctx, id, "reboot", string(policy.RunBefore))
	kill()
	f.letGo(ctx, h, waitBefore)
	_, err := h.WaitReboot(ctx, boot)
	f.must(err)
	f.reason(ctx, id, "reboot", string(policy.RunAfter))
	kill()
	f.letGo(ctx, h, waitAfter)
	w.rebooted(ctx, id)
	f.wantKept(ctx, before, len(before))
}

// cutUnderHolder: the holder and the leader do not hear each other, the third hears both.
// Without a leader the holder's member serves nobody, so neither it nor the third node is
// rebooted, and after a reboot the lock is not given back, until they do.
func (f *Fleet) cutUnderHolder(ctx context.Context, before fleet.Members) {
	ids, w := f.followers(ctx), f.watchTurns(ctx)
	id, h, third := ids[0], f.Host(ids[0]), f.Host(ids[1])
	boot, thirds := h.BootID(), third.BootID()
	f.keep(h, waitBefore)
	f.keep(h, waitAfter)
	f.update(ctx, h)
	f.reason(ctx, id, "reboot", string(policy.RunBefore))
	heal, err := h.CutPeers(f.Host(f.Leader(ctx)).Spec.Addr)
	f.must(err)
	f.reason(ctx, id, "reboot", string(policy.VotersUnhealthy))
	f.letGo(ctx, h, waitBefore)
	f.notServing(ctx, ids[1], id)
	f.update(ctx, third)
	f.holds(ctx, 4*time.Second, func() error { return errors.Join(stays(h, boot), stays(third, thirds)) })
	f.must(heal())

	// Whose turn it is first depends on how the lock was given back.
	f.reason(ctx, id, "reboot", string(policy.RunAfter))
	thirds = third.BootID()
	leader := f.Leader(ctx)
	if leader == id {
		f.t.Fatalf("%s has just booted and leads", id)
	}
	heal, err = h.CutPeers(f.Host(leader).Spec.Addr)
	f.must(err)
	f.reason(ctx, id, "reboot", string(policy.ComingBack))
	f.letGo(ctx, h, waitAfter)
	f.holds(ctx, 3*time.Second, func() error {
		if now, err := f.holder(ctx); err != nil || now.Instance != id || !now.acting() {
			return errors.Join(err, fmt.Errorf("%s does not serve, and the hold is %+v", id, now))
		}
		return stays(third, thirds)
	})
	f.must(heal())
	w.rebooted(ctx, ids...)
	f.wantKept(ctx, before, len(before))
}

// cutBehindHolder: the two others hear only the holder, through whose member both serve as
// long as it leads. It hands leadership over first, sees one of them without a leader, and
// is not rebooted until they hear each other.
func (f *Fleet) cutBehindHolder(ctx context.Context, before fleet.Members) {
	id, others, w := f.Leader(ctx), f.followers(ctx), f.watchTurns(ctx)
	h := f.Host(id)
	boot := h.BootID()
	f.keep(h, waitBefore)
	f.update(ctx, h)
	f.reason(ctx, id, "reboot", string(policy.RunBefore))
	heal, err := f.Host(others[0]).CutPeers(f.Host(others[1]).Spec.Addr)
	f.must(err)
	f.holds(ctx, 2*time.Second, func() error {
		if now := f.Leader(ctx); now != id {
			return fmt.Errorf("%s leads now: the cut was to leave both others with %s", now, id)
		}
		return nil
	})
	f.letGo(ctx, h, waitBefore)
	f.reason(ctx, id, "reboot", string(policy.VotersUnhealthy))
	f.holds(ctx, 4*time.Second, func() error { return stays(h, boot) })
	f.must(heal())
	w.rebooted(ctx, id)
	f.wantKept(ctx, before, len(before))
}

// notServing waits until an agent sees that another's member does not serve.
func (f *Fleet) notServing(ctx context.Context, by, id string) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s to see that %s does not serve", by, id), func(ctx context.Context) error {
		s, err := f.status(ctx, by)
		if err != nil || s.Members == nil {
			return errors.Join(err, errors.New("it tells no members"))
		}
		for _, m := range s.Members.List {
			if m.Instance == id && (m.Health == nil || !m.Health.Serves) {
				return nil
			}
		}
		return errors.New("it sees that it does")
	})
}

// dies takes the power from a machine that holds the lock to reboot.
func (f *Fleet) dies(ctx context.Context, h *lab.Host) {
	f.t.Helper()
	f.keep(h, waitAfter) // whenever the power goes, the lock is held
	f.update(ctx, h)
	f.holdsLock(ctx, h.Spec.Hostname, policy.Acting)
	h.PowerOff()
}

// holderOff: a machine that is off and that EC2 says runs keeps the lock until an
// operator gives it back, and even then nobody is rebooted before it is back.
func (f *Fleet) holderOff(ctx context.Context, before fleet.Members) {
	ids := f.followers(ctx)
	off, next := f.Host(ids[0]), f.Host(ids[1])
	boot := next.BootID()
	f.dies(ctx, off)
	f.update(ctx, next)
	f.reason(ctx, ids[1], "reboot", string(policy.VotersUnhealthy))
	f.holds(ctx, 5*time.Second, func() error {
		if h, err := f.holder(ctx); err != nil || h.Instance != ids[0] || !h.acting() {
			return errors.Join(err, fmt.Errorf("nothing proves that %s is gone, and the hold is %+v", ids[0], h))
		}
		return stays(next, boot)
	})
	if said := f.exec(ctx, next, "/opt/bin/quorumd", "lock", "status"); !strings.Contains(said, "1 held") || !strings.Contains(said, string(policy.VotersUnhealthy)) {
		f.t.Errorf("quorumd lock status does not say that it is held and what the next waits for:\n%s", said)
	}
	f.exec(ctx, next, "/opt/bin/quorumd", "lock", "release", ids[0], "--yes")
	f.holds(ctx, 3*time.Second, func() error {
		if h, err := f.holder(ctx); err != nil || h.Instance != "" {
			return errors.Join(err, fmt.Errorf("given back, and the hold is %+v", h))
		}
		return stays(next, boot)
	})
	f.must(off.Boot())
	f.must(off.WaitBooted(ctx))
	f.letGo(ctx, off, waitAfter)
	_, err := next.WaitReboot(ctx, boot)
	f.must(err)
	f.wantKept(ctx, before, len(before))
	f.quiet(ctx)
}

// holderTerminated: once EC2 says that it is gone its hold is, too, and when its
// replacement votes the next machine is rebooted.
func (f *Fleet) holderTerminated(ctx context.Context, before fleet.Members) {
	ids := f.followers(ctx)
	next := f.Host(ids[1])
	boot := next.BootID()
	f.dies(ctx, f.Host(ids[0]))
	f.update(ctx, next)
	f.reason(ctx, ids[1], "reboot", string(policy.VotersUnhealthy))
	f.must(f.Cloud.TerminateInstance(ids[0]))
	_, err := next.WaitReboot(ctx, boot)
	f.must(err)
	f.wantKept(ctx, before, 2)
	f.quiet(ctx)
}

// goWhileRebooting: the leader leaves once the other is back.
func (f *Fleet) goWhileRebooting(ctx context.Context, before fleet.Members) {
	leader, id, seen := f.Leader(ctx), f.followers(ctx)[0], len(f.Cloud.Events())
	h := f.Host(id)
	boot := h.BootID()
	f.keep(h, waitAfter)
	f.update(ctx, h)
	f.holdsLock(ctx, id, policy.Acting)
	f.must(f.Cloud.TerminateInGroup(leader, false))
	f.reason(ctx, leader, "leave", string(policy.AwaitLock))
	if m, err := f.Members(ctx); err != nil || m[leader] == nil {
		f.t.Errorf("%s has the lock, and the members are %s: %v", id, m, err)
	}
	_, err := h.WaitReboot(ctx, boot)
	f.must(err)
	f.must(h.WaitBooted(ctx))
	f.letGo(ctx, h, waitAfter)
	f.happens(ctx, seen, fakeaws.HookCompleted, leader)
	f.wantKept(ctx, before, 2)
	f.quiet(ctx)
}

// updateWhileLeaving: the machine is rebooted once the leader is out and replaced.
func (f *Fleet) updateWhileLeaving(ctx context.Context, before fleet.Members) {
	leader, id := f.Leader(ctx), f.followers(ctx)[0]
	h := f.Host(id)
	boot := h.BootID()
	f.sees(ctx, leader, len(before)) // it waits for a replacement of as many as there were
	f.must(f.Cloud.TerminateInGroup(leader, false))
	f.reason(ctx, leader, "leave", string(policy.AwaitReplacement))
	f.update(ctx, h)
	_, err := h.WaitReboot(ctx, boot)
	f.must(err)
	if m, err := f.Members(ctx); err != nil || m[leader] != nil || len(m) != len(before) {
		f.t.Errorf("%s was rebooted, and the members are %s: %v", id, m, err)
	}
	f.wantKept(ctx, before, 2)
	f.quiet(ctx)
}
