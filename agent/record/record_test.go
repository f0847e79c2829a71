package record

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

func sample() policy.Record {
	return policy.Record{
		Instance: "i-0a",
		Member:   0xfedcba9876543210,
		Cluster:  0x1,
		Ran:      true,
		Promise: &policy.Promise{
			GroupARN:  "arn:aws:autoscaling:g",
			Members:   []policy.PromisedMember{{Instance: "i-0a", PeerURL: "http://10.0.0.1:2380"}, {Instance: "i-0b", PeerURL: "http://10.0.0.2:2380"}},
			Withdrawn: true,
			Committed: true,
		},
		Leaving:   &policy.Leaving{Since: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Target: "Terminated", Voters: 3},
		Endpoints: []string{"http://10.0.0.1:2379"},
		Reboot:    &policy.RebootOrder{Boot: "b1", Why: "new kernel", Since: time.Date(2026, 1, 2, 3, 4, 5, 7, time.UTC)},
		Rebooted:  &policy.Rebooted{Boot: "b0", For: []string{"sentinel"}},
		Voters:    []policy.Voter{{Member: 0xfedcba9876543210, Instance: "i-0a", PeerURL: "http://10.0.0.1:2380"}},
		Election: &policy.Election{
			Plan: policy.Plan{Cluster: 1, Attempt: 2, Round: policy.AllAtOnce, Forced: true, Proposer: 7,
				At: time.Date(2026, 1, 2, 3, 4, 5, 8, time.UTC), Order: []policy.MemberID{0xfedcba9876543210, 7}},
			Step: policy.StepActing, By: time.Date(2026, 1, 2, 3, 4, 5, 9, time.UTC),
			Since: time.Date(2026, 1, 2, 3, 4, 5, 10, time.UTC), Ended: time.Date(2026, 1, 2, 3, 4, 5, 11, time.UTC),
		},
	}
}

// A record that says nothing of reboots is one that an older quorumd reads.
func TestOldestVersion(t *testing.T) {
	r := sample()
	r.Voters, r.Election = nil, nil
	older := r
	older.Reboot, older.Rebooted = nil, nil
	for want, r := range map[string]policy.Record{`"version": 1`: older, `"version": 2`: r, `"version": 3`: sample()} {
		b, err := encode(r)
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s, %v: not %s", b, err, want)
		}
	}
}

func TestSaveLoad(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	for _, want := range []policy.Record{{}, sample(), {Instance: "i-0a"}, {Promise: &policy.Promise{}}} {
		if err := s.Save(want); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-saved +loaded):\n%s", d)
		}
	}
	info, err := os.Stat(filepath.Join(s.Dir, "record.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestEveryFieldIsKept fails when policy.Record gains a field that the sample, and
// so the file, does not have.
func TestEveryFieldIsKept(t *testing.T) {
	r := sample()
	for _, v := range []reflect.Value{reflect.ValueOf(r), reflect.ValueOf(*r.Promise), reflect.ValueOf(*r.Leaving), reflect.ValueOf(*r.Reboot), reflect.ValueOf(*r.Rebooted),
		reflect.ValueOf(r.Voters[0]), reflect.ValueOf(*r.Election), reflect.ValueOf(r.Election.Plan)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is zero in the sample", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
}

func TestLoadMissing(t *testing.T) {
	got, err := Store{Dir: t.TempDir()}.Load()
	if err != nil || cmp.Diff(policy.Record{}, got) != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	good, err := encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	tests := map[string]struct{ content, want string }{
		"empty":           {"", "move this file"},
		"cut":             {text[:len(text)/2], "move this file"},
		"zeros":           {strings.Repeat("\x00", 100), "move this file"},
		"null":            {"null", "it has no version"},
		"no version":      {`{"instance":"i-0a"}`, "it has no version"},
		"later version":   {`{"version":4,"shape":"other"}`, "run the quorumd that wrote it"},
		"unknown field":   {strings.Replace(text, `"ran"`, `"run"`, 1), "unknown field"},
		"two records":     {text + text, "it is damaged"},
		"bad member":      {strings.Replace(text, "fedcba9876543210", "xyz", 1), "member id"},
		"another promise": {strings.Replace(text, "10.0.0.2", "10.0.0.3", 1), "the promise's hash"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := Store{Dir: t.TempDir()}
			path := filepath.Join(s.Dir, "record.json")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := s.Load()
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one with %q and the path", err, tt.want)
			}
			if d := cmp.Diff(policy.Record{}, got); d != "" {
				t.Errorf("a record was returned: %+v", got)
			}
		})
	}
}

// TestLockOther is the other process of TestLock; by itself it does nothing.
func TestLockOther(t *testing.T) {
	dir := os.Getenv("RECORD_TEST_LOCK_DIR")
	if dir == "" {
		t.Skip("run by TestLock")
	}
	l, err := Store{Dir: dir}.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	os.Stdout.WriteString("locked\n")
	bufio.NewReader(os.Stdin).ReadString('\n') // until TestLock goes on or is gone
}

func TestLock(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "new", "dir")}
	other := exec.Command(os.Args[0], "-test.run=^TestLockOther$")
	other.Env = append(os.Environ(), "RECORD_TEST_LOCK_DIR="+s.Dir)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("other process says %q, %v", line, err)
	}
	_, err = s.Lock()
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid "+strconv.Itoa(other.Process.Pid)) {
		t.Errorf("got %v, want ErrLocked with pid %d", err, other.Process.Pid)
	}
	// A killed agent leaves no stale lock.
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	other.Wait() // it was killed
	l, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock of one process: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = s.Lock(); err != nil {
		t.Fatalf("after Close: %v", err)
	}
	l.Close()
}
