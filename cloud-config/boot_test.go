//go:build e2e && linux

package cloudconfig_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/explain"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	cloudconfig "github.com/quorumd/quorumd/cloud-config"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// leaverVar makes the test binary play an agent that is leaving for that long from
// the first question on.
const leaverVar = "CLOUDCONFIG_TEST_LEAVER"

// leaverWord is where that agent writes, when it is stopped, what it said last.
const leaverWord = "/var/lib/quorumd/said"

func TestMain(m *testing.M) {
	if d := os.Getenv(leaverVar); d != "" {
		if err := leaver(d); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(lab.Main(m.Run))
}

func leaver(duration string) error {
	takes, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	l, err := control.Listen("/run/quorumd/quorumd.sock")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var first time.Time
	said := "not asked"
	srv := control.NewServer(control.Agent{Status: func() *peer.Status {
		mu.Lock()
		defer mu.Unlock()
		if first.IsZero() {
			first = time.Now()
		}
		reason := policy.AwaitLock
		if time.Since(first) >= takes {
			reason = policy.Left
		}
		said = string(reason)
		return &peer.Status{Version: 1, Instance: "i-0a",
			Record: peer.Record{Instance: "i-0a", Leaving: &peer.Leaving{Target: "Terminated"}},
			Decision: peer.Decision{Time: time.Now(), Concerns: []peer.Verdict{
				{Concern: string(policy.ConcernLeave), Reason: said}}}}
	}})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { _ = srv.Serve(l) }() // ends with the process
	<-ctx.Done()
	mu.Lock()
	defer mu.Unlock()
	return os.WriteFile(leaverWord, []byte(said), 0o600)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// host boots one host with the agent of this checkout in /srv, as an image might
// bring it along, and no network but the lab's.
func host(t *testing.T) *lab.Host {
	t.Helper()
	l, err := lab.New(within(t, 10*time.Minute), lab.Options{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := l.AddHost(lab.HostSpec{Name: "h1", Hostname: "i-0000000000000000a", Addr: netip.MustParseAddr("10.77.0.11")})
	if err != nil {
		t.Fatal(err)
	}
	agent := filepath.Join(t.TempDir(), "quorumd")
	build := exec.CommandContext(within(t, 5*time.Minute), "go", "build", "-o", agent, "../cmd/quorumd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.Bind(agent, "/srv/quorumd")
	h.Bind(self, "/srv/leaver")
	h.Bind("/bin/true", "/opt/bin/etcd") // it must not even be started
	if err := h.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return h
}

// provision gives a host its user-data.
func provision(t *testing.T, h *lab.Host, userData string) {
	t.Helper()
	if err := h.Apply(within(t, time.Minute), []byte(userData)); err != nil {
		t.Fatal(err)
	}
}

func bootUserData(t *testing.T) string {
	return render(t, cloudconfig.CloudInit, cloudconfig.Options{
		Binary: cloudconfig.Download{URL: "file:///srv/quorumd"}, Etcd: cloudconfig.Download{Present: true}})
}

// show is one property of a unit.
func show(t *testing.T, h *lab.Host, unit, property string) string {
	t.Helper()
	out, err := h.Exec(within(t, 10*time.Second), "systemctl", "show", "--value", "--property="+property, unit)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// active waits until a unit is.
func active(t *testing.T, h *lab.Host, unit string) {
	t.Helper()
	err := fleet.Until(within(t, 30*time.Second), 50*time.Millisecond, unit, func(context.Context) error {
		if s := show(t, h, unit, "ActiveState"); s != "active" {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	if err != nil {
		log, _ := h.Journal(within(t, 10*time.Second), unit)
		t.Fatalf("%v\n%s", err, log)
	}
}

// A machine that got its user-data has a running agent, and an etcd that does not
// start, neither now nor at the next boot.
func TestUserDataBoots(t *testing.T) {
	h := host(t)
	provision(t, h, bootUserData(t))
	for _, boot := range []string{"first boot", "second boot"} {
		for _, unit := range []string{"quorumd-install.service", "quorumd.service", "quorumd-shutdown.service"} {
			active(t, h, unit)
		}
		if s := show(t, h, "etcd-member.service", "ActiveState"); s != "inactive" {
			t.Errorf("%s: etcd is %s before the agent allowed it", boot, s)
		}
		if out, err := h.Exec(within(t, 10*time.Second), "systemctl", "is-enabled", "etcd-member.service"); err != nil {
			t.Errorf("%s: etcd would not start at boot: %s %v", boot, out, err)
		}
		if out, err := h.Exec(within(t, 10*time.Second), "systemctl", "--failed", "--no-legend", "--plain"); err != nil || len(out) > 0 {
			t.Errorf("%s: failed units: %s %v", boot, out, err)
		}
		if boot == "first boot" {
			id := h.BootID()
			if _, err := h.Exec(within(t, 10*time.Second), "systemctl", "reboot"); err != nil {
				t.Log(err) // it may be gone before it answers
			}
			if _, err := h.WaitReboot(within(t, time.Minute), id); err != nil {
				t.Fatal(err)
			}
			if err := h.WaitReady(within(t, time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := show(t, h, "etcd-member.service", "ConditionResult"); s != "no" {
		t.Errorf("the guard's condition says %q at boot", s)
	}
	out, err := h.Exec(within(t, 10*time.Second), "/opt/bin/quorumd", "config", "check", "/etc/quorumd/quorumd.yaml")
	if err != nil {
		t.Errorf("%s %v", out, err)
	}
	if _, err := h.Exec(within(t, 10*time.Second), "id", "etcd"); err != nil {
		t.Error(err)
	}
	out, err = h.Exec(within(t, 10*time.Second), "journalctl", "--no-pager", "--dump-catalog", explain.MessageID("ElectionStuck"))
	if err != nil || !strings.Contains(string(out), "Subject: quorumd: ElectionStuck") {
		t.Errorf("the journal's catalog has nothing of the agent: %v\n%s", err, out)
	}
	// Nothing is leaving, so nothing holds the stop up.
	began := time.Now()
	if err := h.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

// A machine that stops in the middle of a leave lets it finish: the agent is
// stopped only after it said that the node has left.
func TestShutdownLetsLeaveFinish(t *testing.T) {
	h := host(t)
	if err := h.WriteFile("/etc/systemd/system/quorumd.service.d/50-test.conf", []byte(`[Service]
Type=exec
WatchdogSec=0
ExecStart=
ExecStart=/srv/leaver
Environment=`+leaverVar+`=4s
`), 0o644); err != nil {
		t.Fatal(err)
	}
	provision(t, h, bootUserData(t))
	active(t, h, "quorumd-shutdown.service")
	began := time.Now()
	if err := h.Shutdown(within(t, 2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	said, err := h.ReadFile(leaverWord)
	if err != nil || string(said) != string(policy.Left) {
		log, _ := h.Journal(within(t, 10*time.Second), "quorumd-shutdown.service")
		t.Errorf("when the agent was stopped it had said %q, %v; want %s\n%s", said, err, policy.Left, log)
	}
	if took < 4*time.Second || took > 20*time.Second {
		t.Errorf("the stop took %s, want a little over 4s", took)
	}
	t.Logf("the stop took %s", took.Round(time.Millisecond))
}
