package explain

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever searches the journal by an id finds the entries of older agents too.
func TestMessageIDStays(t *testing.T) {
	if got := MessageID("ElectionStuck"); got != "99516e384ee94d17bb51ff7a3c016c45" {
		t.Errorf("got %s", got)
	}
	ids := map[string]string{}
	for _, e := range All() {
		id := MessageID(e.Word)
		if other, ok := ids[id]; ok {
			t.Errorf("%s and %s have one id", e.Word, other)
		}
		ids[id] = e.Word
	}
}

// TestCatalog has systemd's own compiler read it.
func TestCatalog(t *testing.T) {
	journalctl, err := exec.LookPath("journalctl")
	if err != nil {
		t.Skip("journalctl is not installed")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "usr/local/lib/systemd/catalog")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "quorumd.catalog"))
	if err == nil {
		err = Catalog(f)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), journalctl, append([]string{"--root", root}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("--update-catalog"); out != "" {
		t.Errorf("it complains: %s", out)
	}
	database, err := os.ReadFile(filepath.Join(root, "var/lib/systemd/catalog/database"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range All() {
		text := "Subject: quorumd: " + e.Word + " (" + string(e.Topic) + ")\nDefined-By: quorumd\n\n" + wrap(e.Means)
		if !strings.Contains(string(database), text) {
			t.Errorf("%s is not in the database that was made of it", e.Word)
		}
	}
}
