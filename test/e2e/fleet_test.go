//go:build e2e && linux

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// How long a fleet may take for one change. Generous: two slow cores that also
// build and run everything else must not fail a correct agent.
const (
	forBootstrap = 3 * time.Minute
	forOneChange = 3 * time.Minute

	// plannedGap is how long the application may wait for one write while members
	// come and go in good order. An election takes one or two seconds.
	plannedGap = 10 * time.Second
)

func wantGap(t *testing.T, f *Fleet, longest time.Duration) {
	t.Helper()
	if gap := f.Writer.LongestStall(); gap > longest {
		t.Errorf("no write was acknowledged for %.1fs, at most %.1fs wanted", gap.Seconds(), longest.Seconds())
	}
}

// Three machines that know only their group find each other and form one cluster.
func TestBootstrap(t *testing.T) {
	f := New(t, Config{})
	f.Settle(f.Within(forBootstrap))
	h := f.Host(f.Instances()[0].ID)
	out, err := h.Exec(f.Within(10*time.Second), "journalctl", "--no-pager", "-x", "-u", "quorumd", "QUORUMD_REASON=Voting")
	if err != nil || !strings.Contains(string(out), "Subject: quorumd: Voting") {
		t.Errorf("the journal does not explain what the agent decided: %v\n%s", err, out)
	}
}

// The checks that all scenarios rely on do fail when they should.
func TestChecksBite(t *testing.T) {
	f := New(t, Config{})
	f.Settle(f.Within(forBootstrap))
	ctx := f.Within(time.Minute)
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	// A write that had no answer may be there, too, and is not checked.
	key := f.Writer.AckedKey()
	if _, err := client.Put(ctx, key, "value of "+key); err != nil { // same value, later revision
		t.Fatal(err)
	}
	if f.Writer.Check(ctx, client) == nil {
		t.Error("a write that was done twice is not noticed")
	}
	if _, err := client.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	if f.Writer.Check(ctx, client) == nil {
		t.Error("a lost write is not noticed")
	}
	e := fakeaws.Event{Kind: fakeaws.InService, Instance: "i-stranger"}
	if f.CheckAt(e, func(m fleet.Members) bool { return m[e.Instance] != nil }) == nil {
		t.Error("an instance in service without a member is not noticed")
	}
	if _, err := f.Settled(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Remove(ctx, f.Instances()[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Settled(ctx); err == nil {
		t.Error("an instance in service whose member was removed is not noticed")
	}
	if f.CheckCluster(1) == nil {
		t.Error("another cluster is not noticed")
	}
}

// The group ends the machine of the leader: its member leaves before its machine
// goes, a new machine joins, and the application hardly notices.
func TestTerminateLeader(t *testing.T) {
	for _, replace := range []fakeaws.Replace{fakeaws.ReplaceAtOnce, fakeaws.ReplaceAfterTermination} {
		t.Run(replace.String(), func(t *testing.T) {
			f := New(t, Config{Replace: replace})
			before := f.Settle(f.Within(forBootstrap))

			ctx := f.Within(forOneChange)
			leader := f.Leader(ctx)
			if err := f.Cloud.TerminateInGroup(leader, false); err != nil {
				t.Fatal(err)
			}
			after := f.Settle(ctx)
			if after[leader] != nil {
				t.Errorf("the old leader %s is still a member", leader)
			}
			if kept := before.Kept(after); kept != 2 {
				t.Errorf("%d of the other two members are the same as before", kept)
			}
			wantGap(t, f, plannedGap)
		})
	}
}

// A machine is lost without a word. Its member goes, its replacement joins.
func TestLoseMachine(t *testing.T) {
	f := New(t, Config{})
	before := f.Settle(f.Within(forBootstrap))

	ctx := f.Within(forOneChange)
	lost := f.Leader(ctx)
	f.Host(lost).PowerOff()
	if err := f.Cloud.TerminateInstance(lost); err != nil {
		t.Fatal(err)
	}
	after := f.Settle(ctx)
	if after[lost] != nil || before.Kept(after) != 2 {
		t.Errorf("lost %s; members before %s, after %s", lost, before, after)
	}
}

// The group grows and shrinks by more than one at a time; etcd goes one by one.
func TestScale(t *testing.T) {
	f := New(t, Config{})
	three := f.Settle(f.Within(forBootstrap))
	if err := f.Cloud.SetDesired(group, 5); err != nil {
		t.Fatal(err)
	}
	five := f.Settle(f.Within(2 * forOneChange))
	if kept := three.Kept(five); kept != 3 {
		t.Errorf("growing kept %d of 3 members", kept)
	}
	if err := f.Cloud.SetDesired(group, 3); err != nil {
		t.Fatal(err)
	}
	again := f.Settle(f.Within(2 * forOneChange))
	if kept := five.Kept(again); kept != 3 {
		t.Errorf("of the 3 members left, %d were there before", kept)
	}
	wantGap(t, f, plannedGap)
}

// A reboot is no farewell: same members, same instances, a new boot.
func TestReboot(t *testing.T) {
	f := New(t, Config{})
	before := f.Settle(f.Within(forBootstrap))
	seen := len(f.Cloud.Events())

	ctx := f.Within(forOneChange)
	h := f.Host(f.Leader(ctx))
	boot := h.BootID()
	if _, err := h.Exec(ctx, "systemctl", "reboot"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.WaitReboot(ctx, boot); err != nil {
		t.Fatal(err)
	}
	after := f.Settle(ctx)
	if kept := before.Kept(after); kept != 3 {
		t.Errorf("%d of 3 members are the same as before", kept)
	}
	if left := f.Since(seen, fakeaws.Notice, fakeaws.BecameShuttingDown, fakeaws.LeftGroup); len(left) > 0 {
		t.Errorf("the group let go of somebody: %v", left)
	}
	wantGap(t, f, plannedGap)
}
