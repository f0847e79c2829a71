package units_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/units"
)

func TestNotifier(t *testing.T) {
	path := filepath.Join(shortDir(t), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	var n units.Notifier
	for _, c := range []struct {
		send func() error
		want string
	}{
		{n.Ready, "READY=1"},
		{n.Watchdog, "WATCHDOG=1"},
		{n.Stopping, "STOPPING=1"},
		{func() error { return n.Status("waiting\nREADY=1") }, "STATUS=waiting READY=1"},
	} {
		if err := c.send(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		k, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(buf[:k])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	socket.Close()
	if err := n.Ready(); err == nil {
		t.Error("no error although nobody listens")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := n.Ready(); err != nil {
		t.Errorf("without systemd: %v", err)
	}
}

func TestWatchdogInterval(t *testing.T) {
	self, other := strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getpid()+1)
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
		bad       bool
	}{
		{"", "", 0, false},
		{"30000000", "", 30 * time.Second, false},
		{"30000000", self, 30 * time.Second, false},
		{"30000000", other, 0, false},
		{"soon", self, 0, true},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		got, err := units.Notifier{}.WatchdogInterval()
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%+v: got %v, %v", c, got, err)
		}
	}
}

func TestIDs(t *testing.T) {
	if _, err := os.Stat(units.DefaultBootIDFile); err == nil {
		if id, err := units.BootID(""); err != nil || len(id) != 36 {
			t.Errorf("boot id of this machine: %q, %v", id, err)
		}
	}
	file := filepath.Join(t.TempDir(), "machine-id")
	for content, want := range map[string]string{
		"1c09ca98649c4c7abc779cd04c96812e\n": "1c09ca98649c4c7abc779cd04c96812e",
		"uninitialized\n":                    "",
		"":                                   "",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := units.MachineID(file); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
	// Two Hosts on one kernel are two machines, and a Host booted again has a
	// new boot id but its old machine id.
	m := boot(t, "ready", nil)
	if _, err := units.BootID(m.BootIDFile()); err != nil {
		t.Error(err)
	}
	if _, err := units.MachineID(m.MachineIDFile()); err != nil {
		t.Error(err)
	}
}

// What the firmware does not say is empty, what cannot be read is an error.
func TestHardware(t *testing.T) {
	dir := t.TempDir()
	check := func(product, tag string, bad bool) {
		t.Helper()
		p, a, err := units.Hardware(dir)
		if (err != nil) != bad || !bad && (p != product || a != tag) {
			t.Errorf("%q, %q, %v; want %q, %q", p, a, err, product, tag)
		}
	}
	check("", "", false)
	for name, text := range map[string]string{"product_uuid": "ec2e1916-9099\n", "board_asset_tag": "i-0a\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	check("ec2e1916-9099", "i-0a", false)
	if err := os.Remove(filepath.Join(dir, "product_uuid")); err != nil {
		t.Fatal(err)
	}
	check("", "i-0a", false)
	if err := os.Mkdir(filepath.Join(dir, "product_uuid"), 0o700); err != nil {
		t.Fatal(err)
	}
	check("", "", true)
}
