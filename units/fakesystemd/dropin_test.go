package fakesystemd

import (
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/units"
)

var testSpecifiers = specifiers{'m': "1c09ca98649c4c7abc779cd04c96812e", 'n': "a.service"}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		env        []string
		conditions []condition
		bad        bool
	}{
		{name: "empty"},
		{name: "comments", text: "# a\n; b\n\n[Service]\n  # c\n"},
		{name: "words", text: "[Service]\nEnvironment=A=1 \"B=2 3\"  C='x y'\n", env: []string{"A=1", "B=2 3", "C=x y"}},
		{name: "escapes", text: `[Service]` + "\n" + `Environment="A=\\ \" \n \t \x41 \s|" B=a\sb`, env: []string{"A=\\ \" \n \t A  |", "B=a b"}},
		{name: "specifiers", text: "[Service]\nEnvironment=A=%% B=%m C=%n", env: []string{"A=%", "B=" + testSpecifiers['m'], "C=a.service"}},
		{name: "an empty value resets", text: "[Service]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2", env: []string{"B=2"}},
		{name: "continuation", text: "[Service]\nEnvironment=A=1 \\\n# in between\n  B=2", env: []string{"A=1", "B=2"}},
		{name: "no dollar expansion", text: "[Service]\nEnvironment=A=$B", env: []string{"A=$B"}},
		{name: "conditions", text: "[Unit]\nConditionPathExists=/a\nConditionPathExists=!/b",
			conditions: []condition{{"/a", false}, {"/b", true}}},
		{name: "harmless", text: "[Unit]\nDescription=x\nAfter=a.target"},

		{name: "unknown key", text: "[Service]\nEnviroment=A=1", bad: true},
		{name: "key in the wrong section", text: "[Unit]\nEnvironment=A=1", bad: true},
		{name: "unknown specifier", text: "[Service]\nEnvironment=A=%Q", bad: true},
		{name: "lone percent", text: "[Service]\nEnvironment=A=50%", bad: true},
		{name: "open quote", text: "[Service]\nEnvironment=\"A=1", bad: true},
		{name: "unknown escape", text: `[Service]` + "\n" + `Environment="A=\q"`, bad: true},
		{name: "backslash at the end of a quote", text: `[Service]` + "\n" + `Environment=A=\x4`, bad: true},
		{name: "no assignment", text: "[Service]\nEnvironment=A", bad: true},
		{name: "no equals sign", text: "[Service]\nEnvironment", bad: true},
		{name: "relative path", text: "[Unit]\nConditionPathExists=a", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s settings
			err := s.parse(c.text, testSpecifiers)
			if (err != nil) != c.bad {
				t.Fatalf("error is %v", err)
			}
			if c.bad {
				return
			}
			if diff := cmp.Diff(c.env, s.env); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.conditions, s.conditions, cmp.AllowUnexported(condition{})); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

// Drop-ins count in the order of their names, wherever they lie; of one name the
// lasting one counts.
func TestReadDropInsInOrder(t *testing.T) {
	dirs := units.Dirs{System: t.TempDir(), Runtime: t.TempDir()}
	for _, d := range []units.DropIn{
		{Name: "90-a.conf", Content: []byte("[Service]\nEnvironment=A=90")},
		{Name: "95-b.conf", Runtime: true, Content: []byte("[Service]\nEnvironment=A=95")},
		{Name: "10-c.conf", Runtime: true, Content: []byte("[Service]\nEnvironment=A=10")},
		{Name: "10-c.conf", Content: []byte("[Service]\nEnvironment=B=10")},
	} {
		d.Unit = "a.service"
		if _, err := dirs.WriteDropIn(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dirs.System, "a.service.d", "99-note.txt"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := readDropIns(dirs, "a.service", testSpecifiers)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"B=10", "A=90", "A=95"}, s.env); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever RenderEnvironment accepts must come out as it went in.
func FuzzEnvironmentRoundTrip(f *testing.F) {
	for _, s := range []string{"", " ", "a b", `"`, `'`, `\`, `\\`, `\n`, "\n", "\t", "%", "%%", "%m", "$HOME", "${X}",
		"#", ";", "=", "ä€😀", "\u0085", "\u2028", " x ", "a\\", "[Service]", "\\\n", "\xff", "\r", "\x00"} {
		f.Add(s, "x"+s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		text, err := units.RenderEnvironment([]units.EnvVar{{Name: "A", Value: a}, {Name: "_b2", Value: b}})
		if err != nil {
			if utf8.ValidString(a) && utf8.ValidString(b) && !hasControl(a+b) {
				t.Fatalf("refused %q, %q: %v", a, b, err)
			}
			return
		}
		var s settings
		if err := s.parse(string(text), testSpecifiers); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff([]string{"A=" + a, "_b2=" + b}, s.env); diff != "" {
			t.Fatalf("(-want +got):\n%s\nfrom\n%s", diff, text)
		}
	})
}

func hasControl(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef {
			return true
		}
	}
	return false
}
