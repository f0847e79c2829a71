package units_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quorumd/quorumd/units"
)

var services = []string{"quorumd.service", "etcd-member.service"}

func unitFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := units.File(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// analyze runs systemd-analyze; without it the test is skipped.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.CommandContext(patience(t), bin, args...).CombinedOutput()
	return string(out), err
}

func TestServicesAreHardened(t *testing.T) {
	for _, name := range services {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, unitFile(t, name), 0o600); err != nil {
			t.Fatal(err)
		}
		// The threshold is ten times the exposure: at most 4.0.
		out, err := analyze(t, "security", "--offline=true", "--threshold=40", "--no-pager", path)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		exposure := regexp.MustCompile(`Overall exposure.*`).FindString(out)
		if exposure == "" {
			t.Errorf("%s: no result in\n%s", name, out)
		}
		t.Log(exposure)
	}
}

// systemd must understand every line, so verify must have nothing to say.
func TestUnitFilesAreUnderstood(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable() // the programs need not be installed here
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, name := range services {
		text := regexp.MustCompile(`/opt/bin/\w+`).ReplaceAll(unitFile(t, name), []byte(self))
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	dirs := units.Dirs{System: dir}
	env, err := units.RenderEnvironment([]units.EnvVar{{Name: "A", Value: "50% \"x\" \\ \n\t'\u00e4$"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"10-quorumd-guard.conf": unitFile(t, "10-quorumd-guard.conf"), "90-quorumd.conf": env} {
		if _, err := dirs.WriteDropIn(units.DropIn{Unit: etcd, Name: name, Content: content}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := analyze(t, append([]string{"verify", "--man=no"}, paths...)...)
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// What the rest of quorumd relies on.
func TestUnitFilesSayWhatMatters(t *testing.T) {
	for name, lines := range map[string][]string{
		"quorumd.service": {"Type=notify", "Restart=always", "RestartSec=2", "WatchdogSec=30", "StartLimitIntervalSec=0",
			"ExecStart=/opt/bin/quorumd agent --config /etc/quorumd/quorumd.yaml", "StateDirectory=quorumd", "RuntimeDirectory=quorumd"},
		"etcd-member.service":   {"Type=notify", "Restart=always", "RestartSec=10s", "TimeoutStartSec=0", "ExecStart=/opt/bin/etcd"},
		"10-quorumd-guard.conf": {"ConditionPathExists=/var/lib/quorumd/etcd-allowed", "ExecCondition=+/bin/sh -c 'test ! -x /opt/bin/quorumd || exec /opt/bin/quorumd guard --state-dir /var/lib/quorumd --data-dir /var/lib/etcd'"},
		"sysusers-etcd.conf":    {`u etcd - "etcd" /var/lib/etcd`},
	} {
		text := unitFile(t, name)
		for _, line := range lines {
			if !bytes.Contains(text, []byte("\n"+line+"\n")) {
				t.Errorf("%s lacks the line %s", name, line)
			}
		}
		// An order between the two would make each wait for the other.
		for line := range strings.SplitSeq(string(text), "\n") {
			if ordered, ok := strings.CutPrefix(line, "After="); ok && ordered != "network-online.target" {
				t.Errorf("%s is ordered: %s", name, line)
			}
		}
	}
	if _, err := units.File("none"); err == nil {
		t.Error("a file that does not exist has content")
	}
}
