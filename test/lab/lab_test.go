//go:build e2e && linux

package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/units"
)

func TestMain(m *testing.M) { os.Exit(Main(m.Run)) }

// within bounds a test's waits; the first failing wait then says for what.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New(within(t, 10*time.Minute), Options{Logf: t.Logf}) // the first time debootstraps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func addHost(t *testing.T, l *Lab, n int) *Host {
	t.Helper()
	h, err := l.AddHost(HostSpec{
		Name: fmt.Sprintf("h%d", n), Hostname: fmt.Sprintf("i-%017x", n),
		Addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(10 + n)}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustExec(t *testing.T, ctx context.Context, h *Host, argv ...string) string {
	t.Helper()
	out, err := h.Exec(ctx, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestHost(t *testing.T) {
	l := newLab(t)
	ctx := within(t, time.Minute)
	h := addHost(t, l, 1)
	if err := h.WriteFile("/etc/quorumd/before", []byte("boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("boot time: %.2fs", time.Since(begin).Seconds())

	if got := mustExec(t, ctx, h, "hostname"); got != "i-00000000000000001" {
		t.Errorf("hostname %q", got)
	}
	if got := mustExec(t, ctx, h, "cat", "/etc/machine-id"); got != h.Spec.MachineID {
		t.Errorf("machine id %q, want %q", got, h.Spec.MachineID)
	}
	if got := mustExec(t, ctx, h, "stat", "-c", "%a", "/etc/quorumd/before"); got != "600" {
		t.Errorf("mode %s", got)
	}
	if err := h.WriteFile("/run/after", []byte("boot"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := mustExec(t, ctx, h, "cat", "/run/after"); got != "boot" {
		t.Errorf("/run/after: %q", got)
	}
	if _, err := h.Exec(ctx, "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("a failing command's error: %v", err)
	}
	// D-Bus: systemd and logind answer on the host's own system bus.
	for _, name := range []string{"org.freedesktop.systemd1", "org.freedesktop.login1"} {
		out := mustExec(t, ctx, h, "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
			"org.freedesktop.DBus", "NameHasOwner", "s", name)
		if out != "b true" {
			t.Errorf("%s on the bus: %s", name, out)
		}
	}
	if out, err := h.Journal(ctx, "systemd-logind.service"); err != nil || !bytes.Contains(out, []byte("New seat")) {
		t.Errorf("journal of logind: %v\n%s", err, out)
	}
	if err := h.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Journal(ctx, "systemd-logind.service"); err != nil || len(out) == 0 {
		t.Errorf("journal of logind, host off: %v\n%s", err, out)
	}
	if _, err := h.Exec(ctx, "true"); err == nil {
		t.Error("exec on a host that is off: no error")
	}
}

func TestReboot(t *testing.T) {
	l := newLab(t)
	ctx := within(t, time.Minute)
	h, other := addHost(t, l, 1), addHost(t, l, 2)
	for _, h := range l.Hosts() {
		if err := h.Boot(); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range l.Hosts() {
		if err := h.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
	first := h.BootID()
	if first == other.BootID() {
		t.Error("two hosts have one boot id")
	}
	if got := mustExec(t, ctx, h, "cat", "/proc/sys/kernel/random/boot_id"); got != first {
		t.Errorf("boot id inside %q, outside %q", got, first)
	}
	if err := h.WriteFile("/var/lib/kept", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mustExec(t, ctx, h, "systemctl", "reboot")
	begin := time.Now()
	second, err := h.WaitReboot(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("reboot time: %.2fs", time.Since(begin).Seconds())
	if got := mustExec(t, ctx, h, "cat", "/proc/sys/kernel/random/boot_id"); got != second {
		t.Errorf("boot id inside %q, outside %q", got, second)
	}
	mustExec(t, ctx, h, "test", "-e", "/var/lib/kept")
	if _, err := h.Exec(ctx, "test", "-e", "/run/after"); err == nil {
		t.Error("/run outlived the reboot")
	}

	begin = time.Now()
	other.PowerOff()
	took := time.Since(begin)
	t.Logf("power-off time: %.3fs", took.Seconds())
	if other.Running() || took > time.Second {
		t.Errorf("power-off took %s, running %v", took, other.Running())
	}
	if err := other.Start(ctx); err != nil { // same disk, power back
		t.Fatal(err)
	}

	if err := other.Retire(); err != nil {
		t.Fatal(err)
	}
	again := addHost(t, l, 3)
	if err := again.Retire(); err != nil { // one that never had power
		t.Fatal(err)
	}
	if out, err := other.Journal(ctx, ""); err != nil || len(out) == 0 {
		t.Errorf("journal of a retired host: %v, %d bytes", err, len(out))
	}
	again = addHost(t, l, 2) // the name and the address of the retired one
	if err := again.Start(ctx); err != nil {
		t.Fatal(err)
	}
	mustExec(t, ctx, again, "test", "!", "-e", "/var/log/journal/"+other.Spec.MachineID)
}

// The emulators' way into the lab: a server of this process, seen by one host
// at the metadata address and by all at an address of its own.
func TestListen(t *testing.T) {
	l := newLab(t)
	ctx := within(t, time.Minute)
	aws, err := l.AddNet("aws", netip.MustParseAddr("10.77.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	h, other := addHost(t, l, 1), addHost(t, l, 2)
	for addr, where := range map[string]Place{"10.77.0.2:80": aws, IMDSAddr + ":80": h} {
		ln, err := l.Listen(where, addr)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, addr) })}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
	}
	for _, h := range l.Hosts() {
		if err := h.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range []string{"10.77.0.2:80", IMDSAddr + ":80"} {
		if got := mustExec(t, ctx, h, "curl", "-sS", "http://"+addr); got != addr {
			t.Errorf("%s answers %q", addr, got)
		}
	}
	if _, err := other.Exec(ctx, "curl", "-sS", "-m", "2", "http://"+IMDSAddr); err == nil {
		t.Error("a host sees the metadata of another")
	}
	if err := h.LinkDown(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Exec(ctx, "curl", "-sS", "-m", "1", "http://10.77.0.2"); err == nil {
		t.Error("a host without its cable gets through")
	}
	if err := h.LinkUp(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, ctx, h, "curl", "-sS", "--retry", "5", "--retry-connrefused", "http://10.77.0.2")
}

// A slow link is slow, loses packets, and still carries everything.
func TestSlowLink(t *testing.T) {
	l := newLab(t)
	ctx := within(t, time.Minute)
	aws, err := l.AddNet("aws", netip.MustParseAddr("10.77.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 1<<20)
	ln, err := l.Listen(aws, "10.77.0.2:2380")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	h := addHost(t, l, 1)
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	fastest := func() time.Duration { // of ten, as curl itself measures it
		t.Helper()
		least := time.Hour
		for range 10 {
			out := mustExec(t, ctx, h, "curl", "-sS", "-w", " %{time_total}s", "http://10.77.0.2:2380")
			got, took, _ := strings.Cut(out, " ")
			d, err := time.ParseDuration(took)
			if got != body || err != nil {
				t.Fatalf("%d bytes came through, in %q: %v", len(got), took, err)
			}
			least = min(least, d)
		}
		return least
	}
	stop, err := h.SlowLink(2380, 50*time.Millisecond, 5)
	if err != nil {
		t.Fatal(err)
	}
	if slow := fastest(); slow < 100*time.Millisecond {
		t.Errorf("%s for 50 ms each way", slow)
	}
	out, err := run(ctx, "ip", "netns", "exec", h.namespace(), "nft", "list", "chain", "inet", "slow", "lose")
	if err != nil || !strings.Contains(string(out), "counter packets") || strings.Count(string(out), "counter packets 0 ") == 2 {
		t.Errorf("nothing was lost: %v\n%s", err, out)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if fast := fastest(); fast >= 100*time.Millisecond {
		t.Errorf("%s afterwards", fast)
	}
}

// Three hosts with plain etcd, no agent, in the unit that we ship with all of its
// sandbox: what the hosts give, etcd can use.
func TestEtcd(t *testing.T) {
	l := newLab(t)
	ctx := within(t, 5*time.Minute)
	bin, err := Etcd(ctx, "3.6")
	if err != nil {
		t.Fatal(err)
	}
	var cluster, endpoints []string
	for n := 1; n <= 3; n++ {
		h := addHost(t, l, n)
		cluster = append(cluster, fmt.Sprintf("%s=http://%s:2380", h.Name(), h.Addr()))
		endpoints = append(endpoints, fmt.Sprintf("http://%s:2379", h.Addr()))
	}
	begin := time.Now()
	for _, h := range l.Hosts() {
		provisionEtcd(t, h, bin, strings.Join(cluster, ","))
		if err := h.Boot(); err != nil { // no waiting: etcd is up when two of them are
			t.Fatal(err)
		}
	}
	for _, h := range l.Hosts() {
		if err := h.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("three hosts with etcd: %.2fs", time.Since(begin).Seconds())

	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialOptions: []grpc.DialOption{
		grpc.WithContextDialer(l.DialGRPC)}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	members, err := client.MemberList(ctx)
	if err != nil || len(members.Members) != 3 {
		t.Fatalf("members %v, %v", members, err)
	}
	// One of three without power: the others go on, and it comes back.
	h := l.Hosts()[0]
	h.PowerOff()
	if err := fleet.Until(ctx, 100*time.Millisecond, "a write by two of three", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := client.Put(ctx, "a", "2")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	out := mustExec(t, ctx, h, "/opt/bin/etcdctl", "get", "--print-value-only", "a")
	if out != "2" {
		t.Errorf("read back on %s: %q", h.Name(), out)
	}
}

func provisionEtcd(t *testing.T, h *Host, bin, cluster string) {
	t.Helper()
	h.Bind(filepath.Join(bin, "etcd"), "/opt/bin/etcd")
	h.Bind(filepath.Join(bin, "etcdctl"), "/opt/bin/etcdctl")
	dropIn := fmt.Sprintf(`[Service]
Environment=ETCD_NAME=%[1]s ETCD_INITIAL_CLUSTER=%[3]s ETCD_INITIAL_CLUSTER_STATE=new
Environment=ETCD_LISTEN_PEER_URLS=http://%[2]s:2380 ETCD_INITIAL_ADVERTISE_PEER_URLS=http://%[2]s:2380
Environment=ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 ETCD_ADVERTISE_CLIENT_URLS=http://%[2]s:2379
`, h.Name(), h.Addr(), cluster)
	unit, err := units.File("etcd-member.service")
	if err != nil {
		t.Fatal(err)
	}
	user, err := units.File("sysusers-etcd.conf")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{
		"/etc/systemd/system/etcd-member.service":                unit,
		"/etc/systemd/system/etcd-member.service.d/50-test.conf": []byte(dropIn),
		"/etc/sysusers.d/etcd.conf":                              user,
	} {
		if err := h.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Enable("etcd-member.service"); err != nil {
		t.Fatal(err)
	}
}
