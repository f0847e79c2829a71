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
//	agent SOCKET STATUS [ok|refuse|fail|REASON WORDS]
//	                             serve a control socket; how it answers requests: REASON
//	                             refuses once, then it is ok. What it is asked goes to
//	                             the file asked; locks.json has all locks
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
	fake := &askedAgent{ts: ts, words: args[min(2, len(args)):]}
	srv := control.NewServer(control.Agent{Status: func() *peer.Status { return s }, Submit: fake.submit, Locks: fake.locks})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	ts.Defer(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			ts.Logf("control socket: %v", err)
		}
	})
}

// askedAgent answers requests as a script says.
type askedAgent struct {
	ts    *testscript.TestScript
	words []string // ok|refuse|fail|REASON WORDS
	asked int
}

// submit is called for one request after another.
func (f *askedAgent) submit(_ context.Context, r policy.Request) (policy.AnswerRequest, error) {
	line, err := json.Marshal(control.Request{Kind: string(r.Kind), Why: r.Why, Instance: string(r.Instance), Revision: r.Revision, Slots: r.Slots})
	if err != nil {
		return policy.AnswerRequest{}, err
	}
	file, err := os.OpenFile(f.ts.MkAbs("asked"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return policy.AnswerRequest{}, err
	}
	defer file.Close()
	if _, err := file.Write(append(line, '\n')); err != nil {
		return policy.AnswerRequest{}, err
	}
	f.asked++
	if len(f.words) == 0 {
		return policy.AnswerRequest{}, errors.New("unexpected request")
	}
	a := policy.AnswerRequest{Answer: f.words[1]}
	switch how := f.words[0]; how {
	case "fail":
		return a, errors.New(f.words[1])
	case "ok":
		a.OK = true
	case "refuse":
	default:
		a.OK, a.Reason = f.asked > 1, policy.Reason(how)
	}
	return a, nil
}

// locks are those of the file locks.json, in the words of policy.
func (f *askedAgent) locks(context.Context) ([]policy.Lock, error) {
	data, err := os.ReadFile(f.ts.MkAbs("locks.json"))
	if err != nil {
		return nil, errors.New("no member answers")
	}
	var locks []policy.Lock
	return locks, json.Unmarshal(data, &locks)
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
