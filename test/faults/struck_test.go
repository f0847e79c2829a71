//go:build faults && linux

package faults

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quorumd/quorumd/test/hosts"
)

const policyDir = "../../agent/policy"

// spared are the actions at which no agent is killed, and why. A why in brackets is decided
// there.
var spared = map[point]string{
	{"restart-etcd", ""}:              "of stuck etcd: the lines of elections kill agents in each phase of a plan",
	{"save-snapshot", ""}:             "of stuck etcd",
	{"write-record", "(why)"}:         "of stuck etcd",
	{"write-record", "election over"}: "of stuck etcd",
	{"set-slots", ""}:                 "of workers",
	{"write-record", "TakeOrder"}:     "an operator's order to reboot, which nobody waits for",
	{"answer-request", ""}:            "changes nothing: who asked is told that the agent has died",
	// Removals by the same call as those that are struck at every moment: what leads to them
	// takes many minutes, or an upgrade, or a moment that no line can choose.
	{"remove-member", "launch abandoned"}:                   "after lifecycle.launch_timeout with an etcd that cannot run",
	{"remove-member", "no raft progress"}:                   "after ten minutes of a learner without progress",
	{"remove-member", "learner of an instance that leaves"}: "its own agent is quicker, unless it is dead",
	{"remove-member", "(r)"}:                                "a learner whose version does not fit",
}

// TestStruck: every action that policy knows has a line of kills, or is spared with its
// reason. That each line strikes what it says at every moment is checked when it has been
// played (complete).
func TestStruck(t *testing.T) {
	struck := map[point]bool{}
	for _, l := range killLines(hosts.Binaries{}, nil) {
		for _, p := range l.points {
			struck[p] = true
		}
	}
	known := policyPoints(t)
	for p := range known {
		switch why := spared[p]; {
		case struck[p] && why != "":
			t.Errorf("%s is struck, and spared because %q", p, why)
		case !struck[p] && why == "":
			t.Errorf("no agent is killed at %s", p)
		}
	}
	for p := range spared {
		if !known[p] {
			t.Errorf("%s is spared, and policy has no such action", p)
		}
	}
	for p := range struck {
		if !known[p] && p.why != "announced" {
			t.Errorf("%s is struck, and policy has no such action", p)
		}
	}
}

// policyPoints reads agent/policy: the kinds of actions, and of records and removals the words
// that tell them apart.
func policyPoints(t *testing.T) map[point]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(policyDir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", policyDir, err)
	}
	kinds, whys := map[string]string{}, map[string][]string{} // by type
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "Kind" && n.Recv != nil {
					kinds[ident(n.Recv.List[0].Type)] = word(n.Body.List[0].(*ast.ReturnStmt).Results[0])
				}
			case *ast.CompositeLit:
				if of := ident(n.Type); of == "WriteRecord" || of == "RemoveMember" {
					whys[of] = append(whys[of], given(n, "Why")...)
				}
			}
			return true
		})
	}
	points := map[point]bool{}
	for of, kind := range kinds {
		if len(whys[of]) == 0 {
			points[point{kind, ""}] = true
		}
		for _, why := range whys[of] {
			points[point{kind, why}] = true
		}
	}
	return points
}

// given is the word of a field, none where it is not set.
func given(lit *ast.CompositeLit, field string) []string {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && ident(kv.Key) == field {
			return []string{word(kv.Value)}
		}
	}
	return nil
}

func ident(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// word is a string's, a Reason's, or a variable's name in brackets.
func word(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return s
		}
	case *ast.CallExpr: // string(Reason)
		if name := ident(e.Args[0]); ast.IsExported(name) {
			return name
		} else {
			return "(" + name + ")"
		}
	}
	return ""
}
