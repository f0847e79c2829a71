package cloudconfig_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/quorumd/quorumd/agent/config"
	cloudconfig "github.com/quorumd/quorumd/cloud-config"
	"github.com/quorumd/quorumd/units"
)

// provided is what a text puts on a machine: the content of each path, as it is
// told by the format's own words; "" for what is downloaded.
type provided map[string]string

const systemDir = "/etc/systemd/system/"

func fromIgnition(t *testing.T, text string) provided {
	t.Helper()
	var doc struct {
		Storage struct {
			Files []struct {
				Path     string
				Contents struct{ Source string }
			}
		}
		Systemd struct {
			Units []struct {
				Name, Contents string
				DropIns        []struct{ Name, Contents string } `json:"dropins"`
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	got := provided{}
	for _, f := range doc.Storage.Files {
		content := ""
		if data, ok := strings.CutPrefix(f.Contents.Source, "data:;base64,"); ok {
			raw, err := base64.StdEncoding.DecodeString(data)
			if err != nil {
				t.Fatal(err)
			}
			content = string(raw)
		}
		got[f.Path] = content
	}
	for _, u := range doc.Systemd.Units {
		if u.Contents != "" {
			got[systemDir+u.Name] = u.Contents
		}
		for _, d := range u.DropIns {
			got[systemDir+u.Name+".d/"+d.Name] = d.Contents
		}
	}
	return got
}

type cloudInitDoc struct {
	WriteFiles []struct {
		Path, Owner, Permissions, Content string
	} `yaml:"write_files"`
	RunCmd [][]string `yaml:"runcmd"`
	CoreOS struct {
		Units []struct {
			Name, Command, Content string
			Mask, Enable           bool
			DropIns                []struct{ Name, Content string } `yaml:"drop-ins"`
		}
	} `yaml:"coreos"`
}

func fromYAML(t *testing.T, text string) (provided, cloudInitDoc) {
	t.Helper()
	if !strings.HasPrefix(text, "#cloud-config\n") {
		t.Fatal("the first line does not say #cloud-config")
	}
	var doc cloudInitDoc
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	got := provided{}
	for _, f := range doc.WriteFiles {
		got[f.Path] = f.Content
	}
	for _, u := range doc.CoreOS.Units {
		if u.Content != "" {
			got[systemDir+u.Name] = u.Content
		}
		for _, d := range u.DropIns {
			got[systemDir+u.Name+".d/"+d.Name] = d.Content
		}
	}
	return got, doc
}

func render(t *testing.T, f cloudconfig.Format, o cloudconfig.Options) string {
	t.Helper()
	out, err := cloudconfig.Render(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What every machine must have, whatever the format: the agent's unit, the guard
// for the configured state directory, and the configuration byte for byte.
func TestEveryFormatProvidesTheSame(t *testing.T) {
	o := cloudconfig.Options{Binary: cloudconfig.Download{Present: true}, Config: []byte(configured)}
	generic := o
	generic.Etcd.Present = true
	classic, _ := fromYAML(t, render(t, cloudconfig.CloudConfig, o))
	cloudInit, _ := fromYAML(t, render(t, cloudconfig.CloudInit, generic))
	for name, got := range map[string]provided{
		"ignition":     fromIgnition(t, render(t, cloudconfig.Ignition, o)),
		"fcos":         fromIgnition(t, render(t, cloudconfig.FCOS, o)),
		"cloud-config": classic,
		"cloud-init":   cloudInit,
	} {
		if d := cmp.Diff(configured, got[config.DefaultPath]); d != "" {
			t.Errorf("%s: configuration (-want +got):\n%s", name, d)
		}
		for _, unit := range []string{"quorumd.service", "quorumd-shutdown.service"} {
			if d := cmp.Diff(settings(t, unit), significant(got[systemDir+unit])); d != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, unit, d)
			}
		}
		want := "ConditionPathExists=/var/lib/payments-agent/etcd-allowed"
		if guard := got[systemDir+"etcd-member.service.d/10-quorumd-guard.conf"]; !strings.Contains(guard, want) {
			t.Errorf("%s: the guard is %q, want %s in it", name, guard, want)
		}
	}
	if d := cmp.Diff(settings(t, "etcd-member.service"), significant(cloudInit[systemDir+"etcd-member.service"])); d != "" {
		t.Errorf("cloud-init: etcd's unit (-want +got):\n%s", d)
	}
	if _, ok := classic[systemDir+"etcd-member.service"]; ok {
		t.Error("cloud-config: Flatcar's own etcd unit is replaced")
	}
}

// A worker gets nothing of etcd's, and else the same.
func TestWorkerHasNoEtcd(t *testing.T) {
	o := cloudconfig.Options{Binary: download(), Config: []byte(worker)}
	classic, _ := fromYAML(t, render(t, cloudconfig.CloudConfig, o))
	cloudInit, _ := fromYAML(t, render(t, cloudconfig.CloudInit, o))
	for name, got := range map[string]provided{
		"ignition":     fromIgnition(t, render(t, cloudconfig.Ignition, o)),
		"fcos":         fromIgnition(t, render(t, cloudconfig.FCOS, o)),
		"cloud-config": classic,
		"cloud-init":   cloudInit,
	} {
		for path, content := range got {
			if strings.Contains(path, "etcd-member") || strings.Contains(path, "sysusers") || strings.Contains(content, "ETCD_") {
				t.Errorf("%s: %s is of etcd", name, path)
			}
		}
		if _, ok := got[systemDir+"quorumd.service"]; !ok || got[config.DefaultPath] != worker {
			t.Errorf("%s: agent or configuration is missing", name)
		}
	}
}

// Zincati asks the agent where it listens; where it does not, there are no updates.
func TestZincati(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{"", "[updates]\nstrategy = \"fleet_lock\"\n\n[updates.fleet_lock]\nbase_url = \"http://127.0.0.1:2383/\"\n"},
		{"listen: {fleetlock: \"[::1]:99\"}\n", "base_url = \"http://[::1]:99/\"\n"},
		{"listen: {fleetlock: \"\"}\n", "[updates]\nenabled = false\n"},
		{worker, "[identity]\ngroup = \"web.blue\"\n"},
	} {
		got := fromIgnition(t, render(t, cloudconfig.FCOS, cloudconfig.Options{Binary: download(), Config: []byte(tt.config)}))
		if toml := got["/etc/zincati/config.d/55-quorumd.toml"]; !strings.HasSuffix(toml, tt.want) {
			t.Errorf("%q: Zincati gets\n%s, want at its end\n%s", tt.config, toml, tt.want)
		}
	}
}

// settings are the lines of a unit file that mean something.
func settings(t *testing.T, name string) []string {
	t.Helper()
	data, err := units.File(name)
	if err != nil {
		t.Fatal(err)
	}
	return significant(string(data))
}

func significant(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestClassicUnits(t *testing.T) {
	_, doc := fromYAML(t, render(t, cloudconfig.CloudConfig, cloudconfig.Options{Binary: download()}))
	var got []string
	for _, u := range doc.CoreOS.Units {
		line := u.Name + " " + u.Command
		if u.Mask {
			line += " mask"
		}
		if u.Enable {
			line += " enable"
		}
		got = append(got, line)
	}
	want := []string{"quorumd-install.service start enable", "locksmithd.service stop mask",
		"systemd-sysupdate-reboot.service stop mask", "systemd-sysupdate-reboot.timer stop mask", "etcd-member.service  enable",
		"quorumd.service start enable", "quorumd-shutdown.service start enable"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// systemd must understand what is rendered; its own verifier says so.
func TestUnitsAreUnderstood(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	o := cloudconfig.Options{Binary: download(), Config: []byte(configured), Etcd: cloudconfig.Download{Present: true}}
	got, _ := fromYAML(t, render(t, cloudconfig.CloudInit, o))
	dir := t.TempDir()
	self, err := os.Executable() // the programs need not be installed here
	if err != nil {
		t.Fatal(err)
	}
	programs := strings.NewReplacer("/opt/bin/quorumd", self, "/opt/bin/etcd", self)
	for path, content := range got {
		name, ok := strings.CutPrefix(path, systemDir)
		if !ok {
			continue
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(programs.Replace(content)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, unit := range []string{"quorumd-install.service", "etcd-member.service", "quorumd.service", "quorumd-shutdown.service"} {
		cmd := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", filepath.Join(dir, unit))
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), dir) {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// cloud-init's own schema: of the cloud-init that is installed, or that
// test/cloudinit/prepare.sh has unpacked.
func TestCloudInitSchema(t *testing.T) {
	cloudInit, err := exec.LookPath("cloud-init")
	if err != nil {
		cloudInit, err = filepath.Abs("../.cache/cloud-init/root/run")
	}
	if _, missing := os.Stat(cloudInit); err != nil || missing != nil {
		t.Skip("cloud-init is not here: make cloud-config-check unpacks it")
	}
	valid := func(file string) (string, error) {
		out, err := exec.CommandContext(t.Context(), cloudInit, "schema", "--config-file", file).CombinedOutput()
		return string(out), err
	}
	for _, name := range []string{"cloud-init.yaml", "cloud-init-present.yaml", "cloud-init-worker.yaml"} {
		if out, err := valid(filepath.Join("testdata", name)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("#cloud-config\nwrite_files:\n- path: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := valid(broken); err == nil || !strings.Contains(out, "write_files.0.path") {
		t.Errorf("a number for a path: %v\n%s", err, out)
	}
}

func TestUserDataLimit(t *testing.T) {
	o := cloudconfig.Options{Binary: download(), Config: []byte("# " + strings.Repeat("x", 11000) + "\n")}
	_, err := cloudconfig.Render(cloudconfig.Ignition, o)
	if mistake := (cloudconfig.Error{}); !errors.As(err, &mistake) || !strings.Contains(err.Error(), "at most 16384") {
		t.Errorf("got %v", err)
	}
}
