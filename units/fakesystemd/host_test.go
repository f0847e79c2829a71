package fakesystemd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/units"
)

// supervisorVar makes the test binary run a Host in the named directory, until it
// is killed.
const supervisorVar = "FAKESYSTEMD_TEST_SUPERVISOR"

func TestMain(m *testing.M) {
	dir := os.Getenv(supervisorVar)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := supervise(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func supervise(dir string) error {
	h, err := New(HostConfig{Dir: dir, Units: []Unit{sh("exec sleep 1000", os.Stdout)}})
	if err != nil {
		return err
	}
	if err := h.StartUnit("a.service"); err != nil {
		return err
	}
	st, err := h.WaitUnit(context.Background(), "a.service", units.UnitState.Running)
	if err != nil {
		return err
	}
	fmt.Println(st.MainPID)
	select {}
}

func sh(script string, out io.Writer) Unit {
	return Unit{Name: "a.service", ExecStart: []string{"/bin/sh", "-c", script}, Stdout: out}
}

func testHost(t *testing.T, list ...Unit) *Host {
	t.Helper()
	return bootIn(t, testDir(t), list...)
}

func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "host") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func bootIn(t *testing.T, dir string, list ...Unit) *Host {
	t.Helper()
	h, err := New(HostConfig{Dir: dir, Units: list})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func wait(t *testing.T, h *Host, cond func(units.UnitState) bool) units.UnitState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	st, err := h.WaitUnit(ctx, "a.service", cond)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Without power nothing runs, not even what a service left in the background.
func TestPowerOff(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := testHost(t, sh("trap '' TERM; sleep 1000 & echo started; wait", w))
	if err := h.StartUnit("a.service"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(r)
	if line, err := in.ReadString('\n'); err != nil || line != "started\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	h.PowerOff()
	w.Close()
	// The end of the pipe: nobody is left who could write.
	if rest, err := io.ReadAll(in); err != nil || len(rest) != 0 {
		t.Errorf("read %q, %v", rest, err)
	}
	if st := h.UnitState("a.service"); st.MainPID != 0 || st.Running() {
		t.Errorf("state is %+v", st)
	}
	if err := h.StartUnit("a.service"); !errors.Is(err, ErrPoweredOff) {
		t.Errorf("start without power: %v", err)
	}
	if err := h.StartBus(); !errors.Is(err, ErrPoweredOff) {
		t.Errorf("bus without power: %v", err)
	}
	h.Close() // again does no harm
}

// Booted again it is the same machine, but another boot.
func TestBootAgain(t *testing.T) {
	dir := testDir(t)
	ids := func(h *Host) (string, string) {
		boot, err := units.BootID(h.BootIDFile())
		if err != nil {
			t.Fatal(err)
		}
		machine, err := units.MachineID(h.MachineIDFile())
		if err != nil {
			t.Fatal(err)
		}
		return boot, machine
	}
	h := bootIn(t, dir, sh("exec sleep 1000", nil))
	boot1, machine1 := ids(h)
	lasting := units.DropIn{Unit: "a.service", Name: "a.conf", Content: []byte("[Service]\nEnvironment=A=1")}
	runtime := units.DropIn{Unit: "a.service", Name: "b.conf", Runtime: true, Content: []byte("[Service]\nEnvironment=A=2")}
	for _, d := range []units.DropIn{lasting, runtime} {
		if _, err := h.Dirs().WriteDropIn(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.StartUnit("a.service"); err != nil {
		t.Fatal(err)
	}
	h.PowerOff()

	h = bootIn(t, dir, sh("exec sleep 1000", nil))
	boot2, machine2 := ids(h)
	if boot1 == boot2 || machine1 != machine2 {
		t.Errorf("boot ids %s, %s; machine ids %s, %s", boot1, boot2, machine1, machine2)
	}
	if _, err := os.Stat(h.Dirs().Path(lasting)); err != nil {
		t.Errorf("the lasting drop-in is gone: %v", err)
	}
	if _, err := os.Stat(h.Dirs().Path(runtime)); !os.IsNotExist(err) {
		t.Errorf("the runtime drop-in is still there: %v", err)
	}
	if st := h.UnitState("a.service"); st.ActiveState != units.ActiveStateInactive {
		t.Errorf("unit is %+v", st)
	}
}

// If the supervising process is killed, its units must die with it.
func TestUnitsDieWithTheSupervisor(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), supervisorVar+"="+testDir(t))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// sleep holds the other end of the pipe; it ends with it.
	if _, err := io.ReadAll(in); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the supervisor was not killed")
	}
	t.Logf("unit process %d ended with its supervisor", pid)
}

// What the agent's own unit needs: Restart=always after SIGKILL, and the bus of
// its own machine in an otherwise clean environment.
func TestRestartAndEnvironment(t *testing.T) {
	t.Setenv("NOT_FOR_UNITS", "1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	u := sh("env; echo --; exec sleep 1000", w)
	u.Restart, u.RestartDelay, u.Env = true, time.Millisecond, []string{"A=1"}
	h := testHost(t, u)
	if err := h.StartUnit("a.service"); err != nil {
		t.Fatal(err)
	}
	env := ""
	for in := bufio.NewReader(r); !strings.HasSuffix(env, "\n--\n"); {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		env += line
	}
	first := wait(t, h, units.UnitState.Running)
	if err := h.KillUnit("a.service", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := wait(t, h, func(s units.UnitState) bool { return s.Running() && s.MainPID != first.MainPID })
	if second.NRestarts != 1 || h.UnitPID("a.service") != second.MainPID {
		t.Errorf("after the kill: %+v", second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.StopUnit(ctx, "a.service"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nA=1\n", "\nDBUS_SYSTEM_BUS_ADDRESS=" + h.Address() + "\n", "INVOCATION_ID="} {
		if !strings.Contains("\n"+env, want) {
			t.Errorf("environment lacks %q:\n%s", want, env)
		}
	}
	if strings.Contains(env, "NOT_FOR_UNITS") {
		t.Error("environment leaks into units")
	}
}

func TestRunsThatFail(t *testing.T) {
	for _, c := range []struct {
		name   string
		adjust func(*Unit)
		want   units.UnitState
	}{
		{"exit code", func(u *Unit) { u.ExecStart[2] = "exit 3" },
			units.UnitState{ActiveState: "failed", SubState: "failed", Result: "exit-code", ExecMainStatus: 3}},
		{"signal", func(u *Unit) { u.ExecStart[2] = "kill -KILL $$" },
			units.UnitState{ActiveState: "failed", SubState: "failed", Result: "signal", ExecMainStatus: 9}},
		{"clean end", func(u *Unit) { u.ExecStart[2] = "exit 0" },
			units.UnitState{ActiveState: "inactive", SubState: "dead", Result: "success"}},
		{"never ready", func(u *Unit) { u.ExecStart[2] = "exit 0"; u.NotifyReady = true },
			units.UnitState{ActiveState: "failed", SubState: "failed", Result: "protocol"}},
		{"no such program", func(u *Unit) { u.ExecStart = []string{"/none/such"} },
			units.UnitState{ActiveState: "failed", SubState: "failed", Result: "exit-code", ExecMainStatus: 203}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := sh("", nil)
			c.adjust(&u)
			h := testHost(t, u)
			if err := h.StartUnit("a.service"); err != nil {
				t.Fatal(err)
			}
			st := wait(t, h, func(s units.UnitState) bool { return s.InvocationID != "" && s.Stopped() && s.JobID == 0 })
			got := units.UnitState{ActiveState: st.ActiveState, SubState: st.SubState, Result: st.Result, ExecMainStatus: st.ExecMainStatus}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestBadHosts(t *testing.T) {
	ok := sh("exit", nil)
	for name, cfg := range map[string]HostConfig{
		"not a service": {Units: []Unit{{Name: "a.timer", ExecStart: []string{"/bin/true"}}}},
		"no program":    {Units: []Unit{{Name: "a.service"}}},
		"relative":      {Units: []Unit{{Name: "a.service", ExecStart: []string{"true"}}}},
		"twice":         {Units: []Unit{ok, ok}},
		"long path":     {Dir: filepath.Join(testDir(t), strings.Repeat("x", 110))},
	} {
		if cfg.Dir == "" {
			cfg.Dir = testDir(t)
		}
		if h, err := New(cfg); err == nil {
			h.Close()
			t.Errorf("%s: no error", name)
		}
	}
	h := testHost(t, ok)
	for _, err := range []error{h.StartUnit("b.service"), h.KillUnit("b.service", syscall.SIGTERM), h.StopUnit(t.Context(), "b.service")} {
		if err == nil {
			t.Error("no error for a unit that does not exist")
		}
	}
	if st := h.UnitState("b.service"); st.LoadState != units.LoadStateNotFound {
		t.Errorf("state is %+v", st)
	}
}
