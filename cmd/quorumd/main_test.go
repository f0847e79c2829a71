package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/testca"
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
//	node NAME STATUS [DIR]       serve another agent; its URL becomes $NAME. With DIR by
//	                             mutual TLS: ca.pem, cert.pem, key.pem are written there
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
	if neg || len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: node NAME STATUS [DIR]")
	}
	s := readStatus(ts, args[1])
	var set *certs.Set
	scheme := "http://"
	if len(args) == 3 {
		set, scheme = certificatesIn(ts, ts.MkAbs(args[2])), "https://"
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	srv := peer.NewServer(func() *peer.Status { return s }, set)
	srv.ErrorLog = log.New(io.Discard, "", 0)
	done := make(chan error, 1)
	go func() { done <- peer.Serve(srv, ln) }()
	ts.Defer(func() {
		srv.Close()
		<-done // it ends by being closed
	})
	ts.Setenv(args[0], scheme+ln.Addr().String())
}

// certificatesIn makes an authority and one certificate of it, for both sides.
func certificatesIn(ts *testscript.TestScript, dir string) *certs.Set {
	ca, err := testca.New("peers")
	ts.Check(err)
	cert, key, err := ca.Issue(testca.Leaf{Name: "node", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	ts.Check(err)
	for name, data := range map[string][]byte{"ca.pem": ca.PEM, "cert.pem": cert, "key.pem": key} {
		ts.Check(testca.Replace(filepath.Join(dir, name), data))
	}
	set, err := certs.New(certs.Files{CA: dir + "/ca.pem", Cert: dir + "/cert.pem", Key: dir + "/key.pem"}, nil)
	ts.Check(err)
	return set
}

func readStatus(ts *testscript.TestScript, file string) *peer.Status {
	s := new(peer.Status)
	ts.Check(json.Unmarshal([]byte(os.Expand(ts.ReadFile(file), ts.Getenv)), s))
	if s.Decision.Time.IsZero() {
		s.Decision.Time = time.Now()
	}
	return s
}
