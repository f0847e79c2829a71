package peer

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/test/testca"
)

// agentOf serves a status as an agent does, and gives its URL and how many
// connections it accepted.
func agentOf(t *testing.T, set *certs.Set) (url string, accepted *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int64)
	srv := NewServer(current, set)
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted.Add(1)
		}
	}
	srv.ErrorLog = quiet(t, nil).Config.ErrorLog
	ended := make(chan error, 1)
	go func() { ended <- Serve(srv, ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	scheme := "http"
	if set != nil {
		scheme = "https"
	}
	return scheme + "://" + ln.Addr().String(), accepted
}

func TestMutualTLS(t *testing.T) {
	a, b := pair(t)
	url, accepted := agentOf(t, b.set)
	client := NewClient(a.set)
	for range 3 {
		if s, err := Fetch(t.Context(), client, url); err != nil || s.Instance != "i-a" {
			t.Fatalf("got %q, %v", s.Instance, err)
		}
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("3 questions took %d connections, want 1", n)
	}
}

// Everything that certificates stand in the way of: no fact, and no evidence.
func TestCannotTell(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	old := time.Date(2020, 2, 3, 4, 5, 0, 0, time.UTC)
	expired := testca.Leaf{Name: "expired", NotBefore: old.Add(-time.Hour), NotAfter: old}
	good := newSide(t, ca, testca.Leaf{Name: "good"}, ca)
	past := newSide(t, ca, expired, ca)
	stranger := newSide(t, other, testca.Leaf{Name: "stranger"}, ca) // believes ours, is another's
	doubter := newSide(t, ca, testca.Leaf{Name: "doubter"}, other)   // is ours, believes another's
	elsewhere := newSide(t, ca, testca.Leaf{Name: "elsewhere", IPs: []net.IP{net.IPv4(10, 0, 0, 1)}}, ca)
	soon := newSide(t, ca, testca.Leaf{Name: "soon", NotBefore: time.Now().Add(time.Hour)}, ca)
	for _, tt := range []struct {
		name           string
		client, server *side // nil: plain
		says           []string
	}{
		{"we expired", past, good, []string{past.Cert, "expired on 2020-02-03 04:05 UTC", "renew it"}},
		{"it expired", good, past, []string{"the certificate that 127.0.0.1 shows expired on 2020-02-03 04:05 UTC", "renew it there"}},
		{"we are of another authority", stranger, good, []string{"closes the connection right after the TLS handshake"}},
		{"it is of another authority", good, stranger, []string{"not of the authorities in " + good.CA}},
		{"we believe another authority", doubter, good, []string{"not of the authorities in " + doubter.CA}},
		{"it believes another authority", good, doubter, []string{"closes the connection right after the TLS handshake"}},
		{"it is another host", good, elsewhere, []string{"10.0.0.1", "127.0.0.1"}},
		{"it is not valid yet", good, soon, []string{"the certificate that 127.0.0.1 shows is not valid before"}},
		{"it is plain", good, nil, []string{"does not speak TLS", "etcd.peer_ca_file"}},
		{"we are plain", nil, good, []string{"speaks TLS only", "etcd.peer_ca_file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ours, theirs *certs.Set
			if tt.client != nil {
				ours = tt.client.set
			}
			if tt.server != nil {
				theirs = tt.server.set
			}
			url, _ := agentOf(t, theirs)
			_, host, _ := strings.Cut(url, "://")
			if url = "http://" + host; ours != nil {
				url = "https://" + host
			}
			for range 3 { // also when the first one was heard of
				err := refused(t, url, NewClient(ours), tt.says[0])
				for _, text := range tt.says {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("got %v, want %q in it", err, text)
					}
				}
				if !errors.Is(err, ErrCannotTell) || errors.Is(err, ErrUnreachable) {
					t.Errorf("%v: is not one of ErrCannotTell", err)
				}
			}
		})
	}
	if err := refused(t, "https://127.0.0.1:1", NewClient(nil), "no certificates are configured"); !errors.Is(err, ErrCannotTell) {
		t.Errorf("https without files: %v", err)
	}
	// Nobody there is no matter of certificates.
	if err := refused(t, "https://127.0.0.1:1", NewClient(good.set), "refused"); errors.Is(err, ErrCannotTell) || !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
}

// Certificates are replaced on both sides while the one asks the other, over kept
// connections and new ones.
func TestRotation(t *testing.T) {
	ca, next := newCA(t), newCA(t)
	a, b := newSide(t, ca, testca.Leaf{Name: "a"}, ca), newSide(t, ca, testca.Leaf{Name: "b"}, ca)
	url, _ := agentOf(t, b.set)
	kept := NewClient(a.set)
	ask := func(client *http.Client) error {
		_, err := Fetch(t.Context(), client, url)
		return err
	}
	if err := ask(kept); err != nil {
		t.Fatal(err)
	}
	b.put(t, next, testca.Leaf{Name: "b"}, next)
	if err := ask(kept); err != nil {
		t.Errorf("a kept connection: %v", err)
	}
	if err := ask(NewClient(a.set)); !errors.Is(err, ErrCannotTell) {
		t.Errorf("only the other side changed: %v", err)
	}
	a.put(t, next, testca.Leaf{Name: "a"}, next)
	kept.CloseIdleConnections()
	if err := errors.Join(ask(kept), ask(NewClient(a.set))); err != nil {
		t.Errorf("both sides changed: %v", err)
	}
}

// A client that never ends its handshake or its header is let go.
func TestServerLetsGo(t *testing.T) {
	_, b := pair(t)
	url, _ := agentOf(t, b.set)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, new(*net.OpError)) && err.(*net.OpError).Timeout() {
		t.Errorf("a client that says nothing keeps its connection: %v", err)
	}
}
