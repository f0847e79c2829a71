//go:build e2e && linux

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/test/fleet"
)

// leftovers lists every trace of a lab on the machine.
func leftovers(t *testing.T, id, dir string) (left []string) {
	t.Helper()
	netns, err := run(t.Context(), "ip", "netns", "list")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	links, err := run(t.Context(), "ip", "-o", "link")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(netns) + string(mounts) + string(links)) {
		if strings.Contains(line, id) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	for _, pid := range nspawns(id) {
		left = append(left, fmt.Sprint("nspawn ", pid))
	}
	for _, pattern := range []string{dir, stateDir(id), "/sys/fs/cgroup/*" + id, "/sys/fs/cgroup/*/" + id,
		"/run/systemd/nspawn/*/" + id + "*"} {
		left = append(left, glob(pattern)...)
	}
	return left
}

func TestCloseLeavesNothing(t *testing.T) {
	l := newLab(t)
	on, off := addHost(t, l, 1), addHost(t, l, 2)
	if err := on.Start(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := off.Boot(); err != nil { // power goes in the middle of the boot
		t.Fatal(err)
	}
	if left := leftovers(t, l.id, l.dir); len(left) < 5 {
		t.Fatalf("a running lab shows only %q: this test looks in the wrong places", left)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, l.id, l.dir); len(left) > 0 {
		t.Errorf("left after Close:\n%s", strings.Join(left, "\n"))
	}
}

// crashEnv tells this test binary to make a lab and say where; see TestCrash.
const crashEnv = "QUORUMD_LAB_TEST_CRASH"

// A run that dies with its hosts on, and a disk that stands still, by whatever it was not prepared for,
// leaves nothing either: its watcher sees to it. And another's live lab stays.
func TestCrash(t *testing.T) {
	if os.Getenv(crashEnv) != "" {
		l := newLab(t)
		h := addHost(t, l, 1)
		if err := errors.Join(h.AddDisk("/var/lib/other", 32<<20), h.Start(within(t, time.Minute)), h.StallDisk()); err != nil {
			t.Fatal(err)
		}
		fmt.Println("lab", l.id, l.dir)
		<-t.Context().Done() // never: we are about to be killed
		return
	}
	mine := newLab(t)
	ctx := within(t, 2*time.Minute)
	for _, signal := range []os.Signal{os.Kill, os.Interrupt} {
		id, dir := crash(t, ctx, signal)
		err := fleet.Until(ctx, 50*time.Millisecond, "the watcher to clean up", func(context.Context) error {
			if left := leftovers(t, id, dir); len(left) > 0 {
				return errors.New(strings.Join(left, "\n"))
			}
			return nil
		})
		if err != nil {
			t.Errorf("after %s: %v", signal, err)
		}
	}
	if err := Reap(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join("/run/netns", mine.hub.namespace())); err != nil {
		t.Errorf("the reaper took a live lab: %v", err)
	}
}

// crash makes a lab in another process, ends that with the signal, and returns
// the lab's id and directory.
func crash(t *testing.T, ctx context.Context, signal os.Signal) (id, dir string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestCrash$")
	cmd.Env = append(os.Environ(), crashEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for id == "" && lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "lab" {
			id, dir = f[1], f[2]
		}
	}
	if id == "" {
		t.Fatalf("the other process made no lab: %v", cmd.Wait())
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error is the signal
	return id, dir
}
