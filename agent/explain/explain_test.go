package explain

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the README's tables")

// words are the values of policy's constants of type Reason and those named Warn...
func words(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../policy/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("policy's sources: %v, %v", files, err)
	}
	var out []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			typ, _ := spec.Type.(*ast.Ident)
			lit, isLit := spec.Values[0].(*ast.BasicLit)
			if !isLit || lit.Kind != token.STRING {
				return true
			}
			if (typ != nil && typ.Name == "Reason") || (typ == nil && strings.HasPrefix(spec.Names[0].Name, "Warn")) {
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, s)
			}
			return true
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestEveryReasonIsExplainedOnce(t *testing.T) {
	var have []string
	for _, e := range All() {
		have = append(have, e.Word)
		if e.Means == "" || !strings.HasSuffix(e.Means, ".") {
			t.Errorf("%s: means %q: not a sentence", e.Word, e.Means)
		}
		if !slices.Contains(Topics(), e.Topic) {
			t.Errorf("%s: unknown topic %q", e.Word, e.Topic)
		}
	}
	slices.Sort(have)
	if diff := cmp.Diff(words(t), have); diff != "" {
		t.Errorf("agent/policy's reasons and warnings (-) and those explained here (+) differ:\n%s", diff)
	}
}

func TestEntriesAreInTheOrderOfTheirTopics(t *testing.T) {
	last := 0
	for _, e := range All() {
		at := slices.Index(Topics(), e.Topic)
		if at < last {
			t.Errorf("%s (%s) comes after %s", e.Word, e.Topic, Topics()[last])
		}
		last = at
	}
}

// TestREADME compares the README's tables with these entries; -update writes them.
func TestREADME(t *testing.T) {
	const path, begin, end = "../../README.md", "<!-- reasons: go test ./agent/explain -update -->\n", "<!-- end of reasons -->\n"
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := bytes.Cut(readme, []byte(begin))
	old, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s lacks the lines %q and %q", path, begin, end)
	}
	want := tables()
	if *update {
		out := slices.Concat(head, []byte(begin), want, []byte(end), tail)
		if err := os.WriteFile(path, out, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(old)); diff != "" {
		t.Errorf("README.md: run go test ./agent/explain -update\n%s", diff)
	}
}

func tables() []byte {
	var b bytes.Buffer
	for _, topic := range Topics() {
		fmt.Fprintf(&b, "\n**%s**\n\n| word | means | what to do |\n|---|---|---|\n", strings.ToUpper(string(topic[:1]))+string(topic[1:]))
		for _, e := range All() {
			if e.Topic == topic {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.Word, e.Means, e.Do)
			}
		}
	}
	b.WriteByte('\n')
	return b.Bytes()
}
