package ignition

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	ignition "github.com/coreos/ignition/v2/config"
	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"github.com/google/go-cmp/cmp"
	"github.com/vincent-petithory/dataurl"
)

const testdata = "../../cloud-config/testdata"

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testdata, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// files lists the golden files with an ending; that there are some is part of the test.
func files(t *testing.T, ending string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testdata, "*"+ending))
	if err != nil || len(paths) < 4 {
		t.Fatalf("found %q, %v: want the golden files of both systems", paths, err)
	}
	for i, p := range paths {
		paths[i] = filepath.Base(p)
	}
	return paths
}

// parse reads as Ignition does at boot. An empty report is what is wanted: what
// Ignition warns of is a mistake here.
func parse(t *testing.T, data []byte) types.Config {
	t.Helper()
	c, report, err := ignition.Parse(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	if len(report.Entries) > 0 {
		t.Errorf("report:\n%s", report)
	}
	return c
}

func TestIgnitionParses(t *testing.T) {
	for _, name := range files(t, ".ign") {
		t.Run(name, func(t *testing.T) {
			c := parse(t, read(t, name))
			for _, want := range []string{"/etc/quorumd/quorumd.yaml", "/opt/bin/quorumd"} {
				if !slices.ContainsFunc(c.Storage.Files, func(f types.File) bool { return f.Path == want }) {
					t.Errorf("Ignition sees no %s", want)
				}
			}
			// A worker runs no etcd.
			for unit, want := range map[string]bool{"quorumd.service": true, "etcd-member.service": !strings.Contains(name, "worker")} {
				if got := slices.ContainsFunc(c.Systemd.Units, func(u types.Unit) bool { return u.Name == unit }); got != want {
					t.Errorf("Ignition sees %s: %v", unit, got)
				}
			}
		})
	}
}

// A parser that accepts everything would prove nothing.
func TestIgnitionRefuses(t *testing.T) {
	good := string(read(t, "flatcar.ign"))
	for from, to := range map[string]string{
		`"version": "3.3.0"`:           `"version": "4.0.0"`,
		`"path": "/opt/bin/quorumd"`:   `"path": "opt/bin/quorumd"`,
		`"hash": "sha256-`:             `"hash": "sha1-`,
		`"name": "locksmithd.service"`: `"name": "locksmithd"`,
	} {
		bad := strings.Replace(good, from, to, 1)
		if bad == good {
			t.Fatalf("no %s in the golden file", from)
		}
		if _, report, err := ignition.Parse([]byte(bad)); err == nil {
			t.Errorf("%s is accepted: %s", to, report)
		}
	}
}

// Butane translates its source to what is rendered as Ignition directly: the two
// formats say the same.
func TestButaneTranslates(t *testing.T) {
	for _, name := range files(t, ".bu") {
		t.Run(name, func(t *testing.T) {
			out, report, err := config.TranslateBytes(read(t, name), common.TranslateBytesOptions{})
			if err != nil {
				t.Fatalf("%v\n%s", err, report)
			}
			if len(report.Entries) > 0 { // as butane --strict
				t.Errorf("report:\n%s", report)
			}
			want := parse(t, read(t, strings.TrimSuffix(name, ".bu")+".ign"))
			got := parse(t, out)
			plain(t, &want)
			plain(t, &got)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-rendered as Ignition +translated from Butane):\n%s", d)
			}
		})
	}
}

// plain puts the content of files in place of its data URL, of which there are many
// for one content; Butane may also compress it.
func plain(t *testing.T, c *types.Config) {
	t.Helper()
	for i := range c.Storage.Files {
		f := &c.Storage.Files[i]
		if f.Contents.Source == nil || !strings.HasPrefix(*f.Contents.Source, "data:") {
			continue
		}
		u, err := dataurl.DecodeString(*f.Contents.Source)
		if err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		content := string(u.Data)
		if f.Contents.Compression != nil && *f.Contents.Compression == "gzip" {
			content = gunzip(t, u.Data)
		}
		f.Contents.Source, f.Contents.Compression = &content, nil
	}
}

func gunzip(t *testing.T, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
