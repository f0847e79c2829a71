package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/quorumd/quorumd/agent/policy"
)

func TestClassify(t *testing.T) {
	conn := func(text string) error {
		return status.Error(codes.Unavailable, `connection error: desc = "`+text+`"`)
	}
	for _, tt := range []struct {
		err  error
		want ErrClass
	}{
		{nil, NoError},
		{context.DeadlineExceeded, NoAnswer},
		{rpctypes.ErrNoLeader, NoAnswer},
		{rpctypes.ErrTimeout, NoAnswer},
		{rpctypes.ErrUnhealthy, NoAnswer},
		{rpctypes.ErrTooManyLearners, Refused},
		{rpctypes.ErrMemberLearnerNotReady, Refused},
		{rpctypes.ErrNoSpace, Refused},
		{rpctypes.ErrPermissionDenied, CannotTell},
		{rpctypes.ErrAuthFailed, CannotTell},
		{ErrSlotTaken, Refused},
		{errors.New("anything"), CannotTell},
		{conn("transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"), NoAnswer},
		{conn("transport: authentication handshake failed: context deadline exceeded"), NoAnswer},
		{conn("transport: authentication handshake failed: read: connection reset by peer"), CannotTell},
		{conn("error reading server preface: connection reset by peer"), CannotTell},
		{conn("error reading server preface: read tcp 127.0.0.1:2: i/o timeout"), NoAnswer},
		{conn("transport: authentication handshake failed: x509: certificate signed by unknown authority"), CannotTell},
		{conn("transport: authentication handshake failed: tls: first record does not look like a TLS handshake"), CannotTell},
		{conn("error reading server preface: remote error: tls: certificate required"), CannotTell},
		{conn("error reading server preface: http2: frame too large"), CannotTell},
		{joined([]error{context.DeadlineExceeded, ErrSlotTaken}), NoAnswer},
		{joined([]error{context.DeadlineExceeded, rpctypes.ErrAuthFailed}), CannotTell},
		{fmt.Errorf("probe: %w", joined([]error{ErrSlotTaken, ErrNotHead})), Refused},
	} {
		if got := Classify(tt.err); got != tt.want {
			t.Errorf("Classify(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestAlarmOf(t *testing.T) {
	for _, tt := range []struct {
		line, alarm string
		ok          bool
	}{
		{"memberID:42 alarm:NOSPACE ", "NOSPACE", true},
		{"memberID:42  alarm:CORRUPT", "CORRUPT", true},
		{"memberID: 42 alarm: CORRUPT", "CORRUPT", true},
		{"memberID:43 alarm:NOSPACE ", "NOSPACE", false},
		{"etcdserver: no leader", "", false},
		{"memberID:42", "", false},
	} {
		if alarm, ok := alarmOf(tt.line, 42); ok != tt.ok || alarm != tt.alarm {
			t.Errorf("alarmOf(%q) = %q, %v", tt.line, alarm, ok)
		}
	}
}

func TestConfig(t *testing.T) {
	self := policy.Self{Instance: "i-a"}
	for what, cfg := range map[string]Config{
		"no cluster":       {Self: self},
		"cluster slash":    {Cluster: "a/b", Self: self},
		"no instance":      {Cluster: "a"},
		"password missing": {Cluster: "a", Self: self, Username: "u"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// The order of asking, the pool's life, and calls with nobody to ask.
func TestEndpoints(t *testing.T) {
	dials := 0
	c, err := New(Config{
		Cluster: "x", Self: policy.Self{Instance: "i-a", ClientURL: "http://own:1"},
		DialContext: func(context.Context, string) (net.Conn, error) {
			dials++
			return nil, errors.New("no network")
		},
	})
	must(t, err)
	if _, err := c.Members(t.Context()); Classify(err) != NoAnswer {
		t.Errorf("no endpoints: %v", err)
	}
	c.SetEndpoints([]string{"http://own:1/", "http://b:1", "http://c:1", "http://b:1/"})
	want := func(when string, urls ...string) {
		t.Helper()
		if got := c.order(); fmt.Sprint(got) != fmt.Sprint(urls) {
			t.Errorf("%s: order %v, want %v", when, got, urls)
		}
	}
	want("at first", "http://b:1", "http://c:1", "http://own:1")
	c.last = "http://c:1"
	want("c answered", "http://c:1", "http://b:1", "http://own:1")
	if _, err := c.Probe(t.Context(), "http://c:1/"); Classify(err) != NoAnswer {
		t.Errorf("probe: %v", err)
	}
	want("c is away", "http://b:1", "http://c:1", "http://own:1")
	c.probed(c.pool["http://c:1"], nil, true)
	want("c leads", "http://c:1", "http://b:1", "http://own:1")
	c.probed(c.pool["http://c:1"], errors.New("refused"), false)
	want("the leader is away", "http://b:1", "http://c:1", "http://own:1")
	c.last = "http://own:1"
	want("own answered", "http://b:1", "http://c:1", "http://own:1")
	if _, err := c.Probe(t.Context(), "nonsense"); err == nil {
		t.Error("probe of no url succeeded")
	}

	// A kept endpoint stays; one that is neither named nor used goes.
	e := c.pool["http://c:1"]
	c.mu.Lock()
	dropped := len(c.sweepLocked(time.Now().Add(time.Hour)))
	c.mu.Unlock()
	if dropped != 0 || c.pool["http://c:1"] != e {
		t.Error("a named endpoint was dropped")
	}
	c.SetEndpoints([]string{"http://b:1"})
	if c.pool["http://c:1"] != e {
		t.Error("an endpoint was dropped at once")
	}
	e.used = time.Now().Add(-time.Hour)
	c.SetEndpoints([]string{"http://b:1"})
	if c.pool["http://c:1"] != nil {
		t.Error("an unused endpoint was kept")
	}
	must(t, c.Close())
	if _, err := c.Lock(t.Context()); Classify(err) != NoAnswer {
		t.Errorf("closed: %v", err)
	}
	if dials == 0 {
		t.Error("DialContext was not used")
	}
}

// TestMayHaveArrived: only what cannot have reached anybody, or was refused, did not.
func TestMayHaveArrived(t *testing.T) {
	unavailable := func(text string) error { return status.Error(codes.Unavailable, text) }
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{unavailable(`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.9:1: connect: connection refused"`), false},
		{unavailable(`last connection error: connection error: desc = "transport: authentication handshake failed: EOF"`), false},
		{unavailable(`connection error: desc = "error reading server preface: EOF"`), false},
		{rpctypes.ErrPermissionDenied, false},
		{rpctypes.ErrTooManyRequests, false},
		{rpctypes.ErrTimeout, true},
		{rpctypes.ErrLeaderChanged, true},
		{unavailable("error reading from server: EOF"), true},
		{unavailable(`connection error: desc = "error reading from server: EOF"`), true},
		{unavailable(`closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR`), true},
		{unavailable("the connection is draining"), true},
		{status.Error(codes.Internal, "stream terminated by RST_STREAM with error code: INTERNAL_ERROR"), true},
		{status.Error(codes.Unknown, "anything"), true},
		{context.DeadlineExceeded, true},
	} {
		if got := mayHaveArrived(tt.err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}

// TestBrokenConnection: a call that was under way when its connection broke may have
// arrived, in whatever words gRPC tells of it; also when the server had said before that
// it would go, as etcd does when it is stopped.
func TestBrokenConnection(t *testing.T) {
	for _, goaway := range []bool{false, true} {
		t.Run(fmt.Sprintf("goaway=%v", goaway), func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			conns := make(chan net.Conn, 1)
			conn, err := grpc.NewClient("passthrough:"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			must(t, err)
			defer conn.Close()
			var server *grpc.Server
			stopped := make(chan struct{})
			server = grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
				if goaway {
					go func() { server.GracefulStop(); close(stopped) }()
					conn.WaitForStateChange(s.Context(), connectivity.Ready) // it has heard
				}
				(<-conns).Close()
				<-s.Context().Done()
				return nil
			}))
			go func() { _ = server.Serve(&oneListener{listener, conns}) }()
			_, err = pb.NewKVClient(conn).Txn(t.Context(), &pb.TxnRequest{})
			if err == nil || !mayHaveArrived(err) {
				t.Errorf("it did arrive: %v", err)
			}
			if goaway != strings.Contains(err.Error(), "goaway") {
				t.Errorf("not the error that was to be provoked: %v", err)
			}
			server.Stop()
			if goaway {
				<-stopped
			}
		})
	}
}

// oneListener hands out the connection that it accepted, too.
type oneListener struct {
	net.Listener
	conns chan net.Conn
}

func (l *oneListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		select {
		case l.conns <- conn:
		default:
		}
	}
	return conn, err
}

// TestAttemptsError: what several endpoints say alike is said once, and what gRPC
// wraps around "connection refused" is left out.
func TestAttemptsError(t *testing.T) {
	refused := status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.9:1: connect: connection refused"`)
	err := joined([]error{
		&endpointError{"http://a:1", rpctypes.ErrUnhealthy},
		&endpointError{"http://b:1", rpctypes.ErrUnhealthy},
		&endpointError{"http://c:1", refused},
		errNoEndpoints,
	})
	want := "http://a:1, http://b:1: etcdserver: unhealthy cluster; http://c:1: connection refused; no endpoint of a member is known"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}
