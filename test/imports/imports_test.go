// Package imports asserts who may import whom. The shape of this program is that
// every decision is pure and every adapter stands alone; both are lost by one
// import that compiles.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/quorumd/quorumd"

// adapters touch the world, each one part of it. What is below one belongs to it.
var adapters = []string{
	module + "/agent/etcd",
	module + "/agent/fleetlock",
	module + "/agent/host",
	module + "/agent/peer",
	module + "/lifecycle",
	module + "/units",
}

// pkg is what `go list -deps -json` tells of a package, without its tests.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// list gives every package that the module's packages need, by import path.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"/...")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &errs)
	}
	all := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// pure are the packages of the standard library that decide nothing by themselves:
// no I/O, no clock, no randomness. fmt is among them for Sprintf; see impureCalls.
var pure = []string{
	"cmp", "crypto/sha1", "crypto/sha256", "encoding/binary", "encoding/hex", "errors", "fmt",
	"iter", "maps", "math", "math/bits", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8",
}

// impureCalls are the functions of pure packages that are not.
var impureCalls = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "LoadLocation"},
	"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

func TestPolicyIsPure(t *testing.T) {
	p, ok := list(t)[module+"/agent/policy"]
	if !ok {
		t.Fatal("there is no agent/policy")
	}
	for _, imported := range p.Imports {
		if !slices.Contains(pure, imported) {
			t.Errorf("agent/policy imports %s", imported)
		}
	}
	for _, name := range p.GoFiles {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range impurities(f) {
			t.Errorf("%s: %s", fset.Position(what.Pos()), what.why)
		}
	}
}

// impurity is a place in a file that must not be in agent/policy.
type impurity struct {
	ast.Node
	why string
}

func impurities(f *ast.File) []impurity {
	names := map[string]string{} // by which a package is called in this file
	var out []impurity
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value) // it was parsed
		name := path[strings.LastIndexByte(path, '/')+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		if name == "." {
			out = append(out, impurity{i, "imports " + path + " without its name, which hides what is called"})
		}
		names[name] = path
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, impurity{n, "starts a goroutine"})
		case *ast.SelectorExpr:
			// A value of the function is as bad as a call.
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impureCalls[names[x.Name]], n.Sel.Name) {
				out = append(out, impurity{n, "uses " + names[x.Name] + "." + n.Sel.Name})
			}
		}
		return true
	})
	return out
}

// TestImpurities makes sure that the test above can fail.
func TestImpurities(t *testing.T) {
	for src, want := range map[string]int{
		`import "time"; var x = time.Second`:                       0,
		`import "time"; var x = time.Now`:                          1,
		`import clock "time"; var x = clock.Since(clock.Time{})`:   1,
		`import . "time"; var x = Now()`:                           1,
		`import "fmt"; func f() { fmt.Println(); fmt.Sprintf("")}`: 1,
		`func f() { go f() }`:                                      1,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x; "+src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(impurities(f)); got != want {
			t.Errorf("%s: %d impurities found, want %d", src, got, want)
		}
	}
}

func TestAdaptersStandAlone(t *testing.T) {
	all := list(t)
	for _, a := range adapters {
		if _, ok := all[a]; !ok {
			t.Errorf("there is no package %s", a)
		}
		for path, p := range all {
			if !below(path, a) {
				continue
			}
			for _, dep := range p.Deps {
				if dep == module+"/agent" {
					t.Errorf("%s needs %s, which is made of adapters", path, dep)
				}
				for _, other := range adapters {
					if other != a && below(dep, other) {
						t.Errorf("%s needs %s: adapters do not know each other", path, dep)
					}
				}
			}
		}
	}
}

// TestAgentNeedsNoAdapter: the loop declares what it needs, and main brings it.
func TestAgentNeedsNoAdapter(t *testing.T) {
	for _, dep := range list(t)[module+"/agent"].Deps {
		for _, a := range adapters {
			if below(dep, a) {
				t.Errorf("agent needs %s", dep)
			}
		}
	}
}

// TestBinaryLinksNoServer: what ships is the agent, neither etcd itself nor what
// stands in for the world in tests.
func TestBinaryLinksNoServer(t *testing.T) {
	p, ok := list(t)[module+"/cmd/quorumd"]
	if !ok {
		t.Fatal("there is no cmd/quorumd")
	}
	for _, dep := range p.Deps {
		for _, banned := range []string{
			"go.etcd.io/etcd/server", "go.etcd.io/raft", "testing",
			module + "/lifecycle/fakeaws", module + "/units/fakesystemd", module + "/test", module + "/agent/sim",
		} {
			if below(dep, banned) {
				t.Errorf("quorumd links %s", dep)
			}
		}
	}
}
