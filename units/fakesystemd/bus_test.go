package fakesystemd

import (
	"bufio"
	"net"
	"os/exec"
	"strings"
	"testing"

	sddbus "github.com/coreos/go-systemd/v22/dbus"

	"github.com/quorumd/quorumd/units"
)

// systemd's own client is another implementation of the protocol than the one
// that units uses.
func TestBusctl(t *testing.T) {
	busctl, err := exec.LookPath("busctl")
	if err != nil {
		t.Skip("busctl is not installed")
	}
	h := testHost(t, sh("exec sleep 1000", nil))
	call := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), busctl, append([]string{"--address=" + h.Address()}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("busctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	const unit = "/org/freedesktop/systemd1/unit/a_2eservice"
	got := call("call", systemdName, string(managerPath), managerIface, "StartUnit", "ss", "a.service", "replace")
	if !strings.HasPrefix(got, `o "/org/freedesktop/systemd1/job/`) {
		t.Errorf("StartUnit: %s", got)
	}
	wait(t, h, units.UnitState.Running)
	if got := call("get-property", systemdName, unit, unitIface, "ActiveState", "Job"); got != "s \"active\"\n(uo) 0 \"/\"" {
		t.Errorf("properties: %s", got)
	}
	if got := call("call", systemdName, string(managerPath), managerIface, "ListUnits"); !strings.HasPrefix(got, `a(ssssssouso) 1 "a.service" "a.service" "loaded" "active" "running"`) {
		t.Errorf("ListUnits: %s", got)
	}
}

// go-systemd's own calls that units does not use.
func TestGoSystemd(t *testing.T) {
	h := testHost(t, sh("exec sleep 1000", nil))
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", h.Address())
	conn, err := sddbus.NewSystemConnectionContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Subscribe(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		run  func(chan<- string) (int, error)
		want string
	}{
		{func(c chan<- string) (int, error) {
			return conn.StartUnitContext(t.Context(), "a.service", "replace", c)
		}, "active"},
		{func(c chan<- string) (int, error) {
			return conn.RestartUnitContext(t.Context(), "a.service", "replace", c)
		}, "active"},
		{func(c chan<- string) (int, error) {
			return conn.StopUnitContext(t.Context(), "a.service", "replace", c)
		}, "inactive"},
	} {
		done := make(chan string, 1)
		if _, err := step.run(done); err != nil {
			t.Fatal(err)
		}
		if result := <-done; result != "done" {
			t.Errorf("job ended with %s", result)
		}
		p, err := conn.GetUnitPropertyContext(t.Context(), "a.service", "ActiveState")
		if err != nil {
			t.Fatal(err)
		}
		if p.Value.Value() != step.want {
			t.Errorf("unit is %v, want %s", p.Value, step.want)
		}
	}
	list, err := conn.ListUnitsByNamesContext(t.Context(), []string{"a.service", "b.service"})
	if err != nil || len(list) != 2 || list[0].LoadState != "loaded" || list[1].LoadState != "not-found" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if _, err := conn.StartUnitContext(t.Context(), "a.service", "isolate", nil); err == nil {
		t.Error("no error for a job mode that is not there")
	}
}

func TestHandshakeRefuses(t *testing.T) {
	h := testHost(t, sh("exit", nil))
	for name, c := range map[string]struct{ send, want string }{
		"other mechanism":   {"\x00AUTH ANONYMOUS\r\n", "REJECTED EXTERNAL\r\n"},
		"other user":        {"\x00AUTH EXTERNAL 39393939\r\n", "REJECTED EXTERNAL\r\n"},
		"begin first":       {"\x00BEGIN\r\n", ""},
		"no null byte":      {"AUTH\r\n", ""},
		"unknown":           {"\x00HELLO\r\n", "ERROR\r\n"},
		"no fd passing":     {"\x00NEGOTIATE_UNIX_FD\r\n", "ERROR\r\n"},
		"list of mechanism": {"\x00AUTH\r\n", "REJECTED EXTERNAL\r\n"},
	} {
		conn, err := net.Dial("unix", h.socketPath())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(c.send)); err != nil {
			t.Fatal(err)
		}
		got, _ := bufio.NewReader(conn).ReadString('\n')
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		conn.Close()
	}
}
