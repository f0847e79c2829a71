//go:build linux

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/units"
)

// The test binary is also the agent of the fleets it tests: one that does nothing.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		idle()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "guard" {
		return // the file alone decides
	}
	os.Exit(m.Run())
}

func idle() {
	fmt.Printf(`{"time":%q,"level":"INFO","msg":"decided","concern":"join","reason":"Idle"}`+"\n", time.Now().Format(time.RFC3339Nano))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	<-stop
}

func newFleet(t *testing.T, etcd string, change ...func(*Config)) *Fleet {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Binaries: Binaries{Quorumd: self, Etcd: etcd}, AgentRestart: 10 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(f.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind", f.Dir())
		}
	})
	return f
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// running waits until n instances wait in their launch hook, with a running agent.
func running(t *testing.T, f *Fleet, n int) []*Host {
	t.Helper()
	ctx := within(t)
	if err := fleet.Until(ctx, 5*time.Millisecond, "hosts", func(context.Context) error {
		waiting := 0
		for _, inst := range f.Instances() {
			if inst.Lifecycle == fakeaws.LifecyclePendingWait {
				waiting++
			}
		}
		if on := len(f.Hosts()); waiting != n || on != n {
			return fmt.Errorf("%d wait, %d hosts are on", waiting, on)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, h := range f.Hosts() {
		if _, err := h.Machine().WaitUnit(ctx, AgentUnit, func(s units.UnitState) bool {
			return s.ActiveState == units.ActiveStateActive
		}); err != nil {
			t.Fatal(err)
		}
	}
	return f.Hosts()
}

func TestHostsFollowTheGroup(t *testing.T) {
	f := newFleet(t, "/bin/false") // the guard lets no etcd start
	if err := f.Launch(2); err != nil {
		t.Fatal(err)
	}
	hosts := running(t, f, 2)
	for _, h := range hosts {
		if s := h.Machine().UnitState(EtcdUnit); s.ActiveState != units.ActiveStateInactive || s.ConditionResult {
			t.Errorf("etcd of %s is %+v", h.ID, s)
		}
		inst, _ := f.Cloud.Instance(h.ID)
		if inst.PrivateIP != h.Addr || !strings.Contains(inst.MetadataURL, h.Addr.String()) {
			t.Errorf("%s is at %s, its instance at %s with metadata at %s", h.ID, h.Addr, inst.PrivateIP, inst.MetadataURL)
		}
	}
	lost, kept := hosts[0], hosts[1]
	if err := f.Lose(lost.ID); err != nil {
		t.Fatal(err)
	}
	hosts = running(t, f, 2)
	if slices.Contains(hosts, lost) || !slices.Contains(hosts, kept) {
		t.Errorf("after losing %s: %s and %s", lost.ID, hosts[0].ID, hosts[1].ID)
	}
	if _, err := os.Stat(lost.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the disks of a lost machine are still there: %v", err)
	}
	if f.KillAgent(lost.ID) == nil || f.PowerOn(kept.ID) == nil || f.PowerOff("i-stranger") == nil {
		t.Error("a verb was taken that has no object")
	}
}

func TestKillAndPower(t *testing.T) {
	f := newFleet(t, "/bin/false")
	spoke := make(chan Line, 2)
	t.Cleanup(f.Follow(func(l Line) {
		select {
		case spoke <- l:
		default: // only the first of each agent is asked for; whoever follows must not block the machine
		}
	}))
	if err := f.Launch(1); err != nil {
		t.Fatal(err)
	}
	h := running(t, f, 1)[0]
	first := h.Machine().UnitPID(AgentUnit)
	<-spoke // the agent is active when its word is still on its way
	if err := f.KillAgent(h.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Machine().WaitUnit(within(t), AgentUnit, func(s units.UnitState) bool {
		return s.ActiveState == units.ActiveStateActive && s.MainPID != first
	}); err != nil {
		t.Fatal(err)
	}
	if l := <-spoke; l.Host != h || l.Msg != Decided || l.Concern != "join" || l.Reason != "Idle" || l.At.IsZero() {
		t.Errorf("the new agent said %+v", l)
	}
	if lines, err := h.Journal(); err != nil || len(lines) != 2 {
		t.Errorf("journal has %d lines, want one of each agent: %v", len(lines), err)
	}
	boot, err := units.BootID(h.Machine().BootIDFile())
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(h.StateDir(), "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.PowerOff(h.ID); err != nil {
		t.Fatal(err)
	}
	if len(f.Hosts()) != 0 {
		t.Error("a machine without power is on")
	}
	if err := f.PowerOn(h.ID); err != nil {
		t.Fatal(err)
	}
	if again := running(t, f, 1)[0]; again != h {
		t.Error("it is another host")
	}
	after, err := units.BootID(h.Machine().BootIDFile())
	if err != nil || after == boot {
		t.Errorf("boot id %s, before %s: %v", after, boot, err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error("its disks are not what they were:", err)
	}
}

// A machine whose power is cut before EC2 calls it running boots again, and one whose
// instance has ended does not, whoever still holds it.
func TestCycle(t *testing.T) {
	f := newFleet(t, "/bin/false", func(c *Config) { c.Timing.Boot = time.Hour })
	if err := f.Launch(1); err != nil {
		t.Fatal(err)
	}
	if err := fleet.Until(within(t), 5*time.Millisecond, "a host", func(context.Context) error {
		if len(f.Hosts()) == 0 {
			return errors.New("none is on")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	h := f.Hosts()[0]
	if inst, _ := f.Cloud.Instance(h.ID); inst.State != fakeaws.Pending {
		t.Fatalf("the instance is %s", inst.State)
	}
	if err := h.Cycle(); err != nil || h.Machine() == nil {
		t.Fatalf("while pending: machine %v, %v", h.Machine(), err)
	}
	if err := f.Cloud.TerminateInstance(h.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Cloud.AwaitEvent(within(t), func(e fakeaws.Event) bool {
		return e.Kind == fakeaws.BecameTerminated && e.Instance == h.ID
	}); err != nil {
		t.Fatal(err)
	}
	for _, on := range []func() error{h.Cycle, func() error { return f.PowerOn(h.ID) }} {
		if err := on(); !errors.Is(err, errGone) || h.Machine() != nil {
			t.Errorf("after its end: machine %v, %v", h.Machine(), err)
		}
	}
}

// A machine that goes off waits for what its agent has written, and whoever follows that
// may ask for the machine meanwhile.
func TestPowerOffWhileFollowed(t *testing.T) {
	f := newFleet(t, "/bin/false")
	begun, spoke := make(chan struct{}), make(chan struct{}, 9)
	t.Cleanup(f.Follow(func(l Line) {
		spoke <- struct{}{}
		<-begun
		if l.Host.Machine() != nil {
			t.Error("a machine that goes off is on")
		}
	}))
	if err := f.Launch(1); err != nil {
		t.Fatal(err)
	}
	<-spoke
	h := f.Hosts()[0]
	off := make(chan error, 1)
	go func() { off <- f.PowerOff(h.ID) }()
	if err := fleet.Until(within(t), time.Millisecond, "the power to go", func(context.Context) error {
		if h.Machine() != nil {
			return errors.New("it is on")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	close(begun)
	select {
	case err := <-off:
		if err != nil {
			t.Error(err)
		}
	case <-within(t).Done():
		t.Fatal("it does not go off")
	}
}

// The checks that everything relies on do fail when they should. One real etcd,
// set up by hand.
func TestChecksBite(t *testing.T) {
	repo, err := Repo()
	if err != nil {
		t.Fatal(err)
	}
	etcd := filepath.Join(repo, ".cache/etcd/3.6/etcd")
	if _, err := os.Stat(etcd); err != nil {
		t.Skip("etcd is not built: test/etcd/build.sh 3.6")
	}
	f := newFleet(t, etcd)
	if err := f.Launch(1); err != nil {
		t.Fatal(err)
	}
	h := running(t, f, 1)[0]
	writer := fleet.StartWriter(fleet.WriterConfig{Endpoints: f.Endpoints, Client: Client, Pause: -1})
	t.Cleanup(writer.Stop)
	startByHand(t, f, h)
	if err := f.Cloud.CompleteHook(Group, LaunchHook, h.ID, fakeaws.Continue, "test"); err != nil {
		t.Fatal(err)
	}
	ctx := within(t)
	members, err := f.Settle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if leader, err := f.Leader(ctx); err != nil || leader != h.ID || members.Voters() != 1 {
		t.Errorf("leader %s, members %s: %v", leader, members, err)
	}
	if err := fleet.Until(ctx, time.Millisecond, "writes", func(context.Context) error {
		if n := writer.Acked(); n < 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	biteWriter(t, f, writer)
	if f.CheckCluster(1) == nil || f.Broken() == nil {
		t.Error("another cluster is not noticed")
	}
	e := fakeaws.Event{Kind: fakeaws.InService, Instance: "i-stranger"}
	if f.CheckAt(e, func(m fleet.Members) bool { return m.Votes(e.Instance) }) == nil {
		t.Error("an instance in service without a member is not noticed")
	}
	if err := f.KillAgent(h.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.PowerOff(h.ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := f.Settled(ctx); err == nil {
		t.Error("a machine without power is not noticed")
	}
}

// startByHand does what an agent would do for a cluster of one.
func startByHand(t *testing.T, f *Fleet, h *Host) {
	t.Helper()
	peer := httpURL(h.Addr, f.ports.peer)
	env := units.DropIn{Unit: EtcdUnit, Name: "90-quorumd.conf", Content: fmt.Appendf(nil, `[Service]
Environment=ETCD_NAME=%[1]s ETCD_DATA_DIR=%[2]s ETCD_INITIAL_CLUSTER=%[1]s=%[3]s
Environment=ETCD_INITIAL_ADVERTISE_PEER_URLS=%[3]s ETCD_ADVERTISE_CLIENT_URLS=%[4]s
Environment=ETCD_LISTEN_PEER_URLS=%[3]s ETCD_LISTEN_CLIENT_URLS=%[4]s
`, h.ID, h.DataDir(), peer, h.ClientURL())}
	if _, err := h.Machine().Dirs().WriteDropIn(env); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.StateDir(), "etcd-allowed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Machine().Reload(); err != nil {
		t.Fatal(err)
	}
	if err := h.Machine().StartUnit(EtcdUnit); err != nil {
		t.Fatal(err)
	}
}

func biteWriter(t *testing.T, f *Fleet, w *fleet.Writer) {
	t.Helper()
	ctx := within(t)
	client, err := Client(f.Endpoints()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := w.Check(ctx, client); err != nil {
		t.Fatal(err)
	}
	key := w.AckedKey()
	for _, op := range []clientv3.Op{clientv3.OpPut(key, "value of "+key), clientv3.OpDelete(key)} {
		if _, err := client.Do(ctx, op); err != nil {
			t.Fatal(err)
		}
		var lost *fleet.LostError
		if err := w.Check(ctx, client); !errors.As(err, &lost) || len(lost.Writes) != 1 {
			t.Errorf("a write that was done twice, then deleted: %v", err)
		}
	}
	w.Stop()
	if w.LongestStall() <= 0 || w.LongestStall() > 30*time.Second {
		t.Errorf("longest stall %s", w.LongestStall())
	}
}
