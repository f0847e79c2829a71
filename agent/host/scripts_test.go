package host_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/host"
)

// scripts makes a directory of shell scripts; each appends its name to the file $OUT.
func scripts(t *testing.T, bodies map[string]string) (host.Scripts, func() string) {
	t.Helper()
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	ok(t, os.Chmod(dir, 0o700))
	for name, body := range bodies {
		write(t, filepath.Join(dir, name), "#!/bin/sh\necho "+name+" >>\"$OUT\"\n"+body+"\n", 0o700)
	}
	s := host.Scripts{Dir: dir, Env: []string{"OUT=" + out}, Log: slog.New(slog.DiscardHandler)}
	return s, func() string {
		b, err := os.ReadFile(out)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(string(b)), " ")
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	ok(t, os.WriteFile(path, []byte(content), mode))
	ok(t, os.Chmod(path, mode)) // whatever the umask
}

func TestScriptsInOrder(t *testing.T) {
	s, ran := scripts(t, map[string]string{"20-b": "", "10-a": "", "9": "", ".hidden": "", "old~": ""})
	write(t, filepath.Join(s.Dir, "15-readme"), "not a program", 0o600)
	ok(t, os.Mkdir(filepath.Join(s.Dir, "12-dir"), 0o700))
	ok(t, os.Symlink(filepath.Join(s.Dir, "9"), filepath.Join(s.Dir, "30-link")))
	ok(t, s.Run(t.Context()))
	if got := ran(); got != "10-a 20-b 9 9" || !s.Any() {
		t.Errorf("ran %q, any: %t", got, s.Any())
	}
}

func TestNoScripts(t *testing.T) {
	s, _ := scripts(t, nil)
	write(t, filepath.Join(s.Dir, "readme"), "not a program", 0o600)
	ok(t, s.Run(t.Context()))
	if s.Any() {
		t.Error("there is something to run")
	}
	s.Dir = filepath.Join(s.Dir, "none")
	ok(t, s.Run(t.Context()))
	if s.Any() {
		t.Error("there is something to run in no directory")
	}
}

func TestFirstFailureStops(t *testing.T) {
	for body, want := range map[string]string{
		"exit 3":     "exit code 3",
		"kill -9 $$": "killed by killed",
	} {
		s, ran := scripts(t, map[string]string{"1": "", "2": body, "3": ""})
		err := s.Run(t.Context())
		var failed *host.ScriptError
		if !errors.As(err, &failed) || failed.Script != filepath.Join(s.Dir, "2") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
		if got := ran(); got != "1 2" {
			t.Errorf("%s: ran %q", body, got)
		}
	}
}

// A script that others could have written is not run, nor skipped.
func TestScriptsOfOthers(t *testing.T) {
	for _, mode := range []os.FileMode{0o702, 0o720, 0o777} {
		s, ran := scripts(t, map[string]string{"1": "", "2": ""})
		ok(t, os.Chmod(filepath.Join(s.Dir, "2"), mode))
		var failed *host.ScriptError
		if err := s.Run(t.Context()); !errors.As(err, &failed) || failed.Script != filepath.Join(s.Dir, "2") || ran() != "" {
			t.Errorf("mode %o: %v, ran %q", mode, err, ran())
		}
	}
	s, ran := scripts(t, map[string]string{"1": ""})
	ok(t, os.Chmod(s.Dir, 0o777))
	if err := s.Run(t.Context()); err == nil || ran() != "" || !s.Any() {
		t.Errorf("in a directory that everybody may write: %v, ran %q", err, ran())
	}
}

// At the limit the whole process group ends, also what the script left behind.
func TestTimeLimit(t *testing.T) {
	for name, adjust := range map[string]func(*host.Scripts){
		"each":  func(s *host.Scripts) { s.Each = 100 * time.Millisecond },
		"whole": func(s *host.Scripts) { s.Whole = 100 * time.Millisecond },
	} {
		s, ran := scripts(t, map[string]string{"1": "sleep 1000 & echo $! >\"$OUT\"; wait", "2": ""})
		adjust(&s)
		began := time.Now()
		err := s.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "time limit") || time.Since(began) > 20*time.Second {
			t.Errorf("%s: after %s: %v", name, time.Since(began), err)
		}
		pid, err := strconv.Atoi(ran())
		if err != nil {
			continue // killed before it got there
		}
		gone(t, pid)
	}
}

// What a script leaves in the background does not outlive it, and does not hold it up.
func TestLeftBehind(t *testing.T) {
	s, ran := scripts(t, map[string]string{"1": "sleep 1000 >/dev/null 2>&1 & echo $! >\"$OUT\""})
	ok(t, s.Run(t.Context()))
	pid, err := strconv.Atoi(ran())
	ok(t, err)
	gone(t, pid)
}

// gone waits until a killed process is no more than a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d lives on", pid)
}

func TestOutputIsLogged(t *testing.T) {
	var log bytes.Buffer
	s, _ := scripts(t, map[string]string{"1": "echo one; echo two >&2; printf three; i=0; while [ $i -lt 500 ]; do echo more; i=$((i+1)); done"})
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	ok(t, s.Run(t.Context()))
	for _, want := range []string{"line=one", "line=two", "line=threemore", "more output is not shown"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log", want)
		}
	}
	if n := strings.Count(log.String(), "\n"); n > 210 {
		t.Errorf("%d lines", n)
	}
}

func TestScriptsEndWithTheirContext(t *testing.T) {
	s, _ := scripts(t, map[string]string{"1": "sleep 1000"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSentinel(t *testing.T) {
	sh := func(body string) []string { return []string{"/bin/sh", "-c", body} }
	for _, c := range []struct {
		command []string
		want    bool
		fails   bool
	}{
		{sh("exit 0"), true, false},
		{sh("exit 1"), false, false},
		{sh("exit 100"), false, false},
		{sh("exit 127"), false, true},
		{sh("kill -9 $$"), false, true},
		{sh("sleep 1000"), false, true},
		{[]string{"/nonexistent"}, false, true},
		{nil, false, true},
	} {
		s := host.Sentinel{Command: c.command}
		if slices.Contains(c.command, "sleep 1000") {
			s.Limit = 100 * time.Millisecond
		}
		got, err := s.Wanted(t.Context())
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%v: %v, %v", c.command, got, err)
		}
	}
}
