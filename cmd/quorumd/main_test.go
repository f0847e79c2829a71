package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quorumd": main})
}

// TestScripts runs the command as people do. Besides testscript's own commands
// there are:
//
//	exits CODE COMMAND...        run it, and expect this exit code
//	agent SOCKET STATUS [ok|refuse|fail WORDS]
//	                             serve a control socket; how it answers requests
//	node NAME STATUS             serve another agent; its URL becomes $NAME
//
// STATUS is a file of JSON in which $VARIABLES are replaced. Its pass is just now
// unless it says otherwise.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("QUORUMD_CONFIG", env.WorkDir+"/quorumd.yaml")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"agent": fakeAgent,
			"node":  fakeNode,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func fakeAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 4 {
		ts.Fatalf("usage: agent SOCKET STATUS [ok|refuse|fail WORDS]")
	}
	s := readStatus(ts, args[1])
	l, err := control.Listen(ts.MkAbs(args[0]))
	ts.Check(err)
	srv := control.NewServer(func() *peer.Status { return s }, func(context.Context, policy.RequestKind) (bool, string, error) {
		switch {
		case len(args) < 4:
			return false, "", errors.New("unexpected request")
		case args[2] == "fail":
			return false, "", errors.New(args[3])
		}
		return args[2] == "ok", args[3], nil
	})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	ts.Defer(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			ts.Logf("control socket: %v", err)
		}
	})
}

func fakeNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: node NAME STATUS")
	}
	s := readStatus(ts, args[1])
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = peer.NewServer(func() *peer.Status { return s })
	srv.Start()
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

func readStatus(ts *testscript.TestScript, file string) *peer.Status {
	s := new(peer.Status)
	ts.Check(json.Unmarshal([]byte(os.Expand(ts.ReadFile(file), ts.Getenv)), s))
	if s.Decision.Time.IsZero() {
		s.Decision.Time = time.Now()
	}
	return s
}
