package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/test/testca"
)

// node is one side: its files, and what it logs.
type node struct {
	t   *testing.T
	set *Set
	log bytes.Buffer
	Files
}

func newCA(t testing.TB) *testca.CA {
	t.Helper()
	ca, err := testca.New("test ca")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t, Files: Files{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}}
	var err error
	if n.set, err = New(n.Files, slog.New(slog.NewTextHandler(&n.log, nil))); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) put(path string, data []byte) {
	n.t.Helper()
	if err := testca.Replace(path, data); err != nil {
		n.t.Fatal(err)
	}
}

// give issues the node a certificate for 127.0.0.1, and the authorities it believes.
func (n *node) give(by *testca.CA, l testca.Leaf, believes ...*testca.CA) {
	n.t.Helper()
	if l.IPs == nil {
		l.IPs = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	cert, key, err := by.Issue(l)
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(n.Cert, cert)
	n.put(n.Key, key)
	var bundle []byte
	for _, ca := range believes {
		bundle = append(bundle, ca.PEM...)
	}
	if bundle != nil {
		n.put(n.CA, bundle)
	}
}

// meet has a client and a server shake hands and exchange a byte, and gives both
// sides' errors.
func meet(t *testing.T, client, server *node) (clientErr, serverErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		far, err := ln.Accept()
		if err == nil {
			err = far.SetDeadline(time.Now().Add(10 * time.Second))
		}
		if err != nil {
			served <- err
			return
		}
		defer far.Close()
		conn := tls.Server(far, server.set.Server())
		if err := conn.Handshake(); err != nil {
			served <- err
			return
		}
		_, err = conn.Write([]byte("x"))
		served <- err
	}()
	near, err := net.DialTimeout("tcp", ln.Addr().String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := near.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(near, client.set.Client("127.0.0.1"))
	_, clientErr = io.ReadFull(conn, make([]byte, 1))
	near.Close()
	return clientErr, <-served
}

func want(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got %v, want %q in it", what, err, text)
	}
}

func well(t *testing.T, what string, client, server *node) {
	t.Helper()
	if c, s := meet(t, client, server); c != nil || s != nil {
		t.Errorf("%s: client %v, server %v", what, c, s)
	}
}

func TestMutual(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	a, b := newNode(t), newNode(t)
	a.give(ca, testca.Leaf{Name: "a"}, ca)
	b.give(ca, testca.Leaf{Name: "b"}, ca)
	well(t, "of one authority", a, b)

	a.give(other, testca.Leaf{Name: "a"})
	_, err := meet(t, a, b)
	want(t, "client of another authority", err, "unknown authority")
	a.give(ca, testca.Leaf{Name: "a"}, other)
	err, _ = meet(t, a, b)
	want(t, "server of another authority", err, "not of the authorities in "+a.CA)
	a.give(ca, testca.Leaf{Name: "a"}, ca)
	well(t, "put right", a, b)

	b.give(ca, testca.Leaf{Name: "b", IPs: []net.IP{net.IPv4(127, 0, 0, 2)}})
	err, _ = meet(t, a, b)
	want(t, "certificate of another host", err, "127.0.0.1")

	only := newNode(t)
	only.put(only.CA, ca.PEM)
	var e error
	if only.set, e = New(Files{CA: only.CA}, nil); e != nil {
		t.Fatal(e)
	}
	b.give(ca, testca.Leaf{Name: "b"})
	_, err = meet(t, only, b)
	want(t, "client without certificate", err, "didn't provide a certificate")
}

func TestExpired(t *testing.T) {
	ca := newCA(t)
	past := time.Date(2020, 2, 3, 4, 5, 0, 0, time.UTC)
	a, b := newNode(t), newNode(t)
	a.give(ca, testca.Leaf{Name: "a", NotBefore: past.Add(-time.Hour), NotAfter: past}, ca)
	b.give(ca, testca.Leaf{Name: "b"}, ca)
	clientErr, serverErr := meet(t, a, b)
	want(t, "expired client, at the server", serverErr, "expired")
	if clientErr == nil {
		t.Fatal("the client heard of no refusal")
	}
	want(t, "expired client, explained", a.set.Explain(clientErr), a.Cert+" expired on 2020-02-03 04:05 UTC")
	clientErr, _ = meet(t, b, a)
	want(t, "expired server", clientErr, "the certificate that 127.0.0.1 shows expired on 2020-02-03 04:05 UTC; renew it there")
	if got := a.set.Certificates()[1]; !got.NotAfter.Equal(past) || got.Problem != "" {
		t.Errorf("state %+v", got)
	}
	if err := errors.New("x"); b.set.Explain(err) != err {
		t.Errorf("files that are well explain an error: %v", b.set.Explain(err))
	}
}

// Whatever broken thing is put there, the last good content stays in use, and it is
// said once.
func TestBrokenKeepsTheOld(t *testing.T) {
	ca := newCA(t)
	a, b := newNode(t), newNode(t)
	a.give(ca, testca.Leaf{Name: "a"}, ca)
	b.give(ca, testca.Leaf{Name: "b"}, ca)
	well(t, "at first", a, b)
	good := map[string][]byte{}
	for _, path := range []string{b.CA, b.Cert, b.Key} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		good[path] = data
	}
	_, otherKey, err := ca.Issue(testca.Leaf{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		data []byte // nil: the file goes
		says string
	}{
		{b.Key, otherKey, "does not match"}, {b.Key, nil, "no such file"}, {b.Cert, nil, "no such file"},
		{b.Cert, []byte("nothing"), "failed to find any PEM data"}, {b.Cert, good[b.Cert][:100], "PEM"},
		{b.CA, nil, "no such file"}, {b.CA, []byte{}, "no certificate in it"}, {b.CA, good[b.Key], "PRIVATE KEY"},
		{b.CA, append(bytes.Clone(good[b.CA]), good[b.CA][:60]...), "end is missing"},
		{b.CA, make([]byte, maxFile+1), "longer than"},
	} {
		b.log.Reset()
		if tt.data == nil {
			if err := os.Remove(tt.path); err != nil {
				t.Fatal(err)
			}
		} else {
			b.put(tt.path, tt.data)
		}
		name := fmt.Sprintf("%s: %s", filepath.Base(tt.path), tt.says)
		well(t, name, a, b)
		well(t, name+" again", b, a)
		if n := strings.Count(b.log.String(), "old content stays in use"); n != 1 || !strings.Contains(b.log.String(), tt.says) {
			t.Errorf("%s: said %d times:\n%s", name, n, b.log.String())
		}
		wrong := 0
		for _, c := range b.set.Certificates() {
			if c.Problem != "" && !c.NotAfter.IsZero() {
				wrong++
			}
		}
		if wrong != 1 {
			t.Errorf("%s: certificates are %+v", name, b.set.Certificates())
		}
		b.put(tt.path, good[tt.path])
		well(t, name+", put right", a, b)
		if !strings.Contains(b.log.String(), "good again") {
			t.Errorf("%s: not said that it is good again:\n%s", name, b.log.String())
		}
	}
}

// Both authorities and leaves are replaced while each side goes on meeting the other.
func TestRotation(t *testing.T) {
	old, fresh := newCA(t), newCA(t)
	a, b := newNode(t), newNode(t)
	a.give(old, testca.Leaf{Name: "a"}, old)
	b.give(old, testca.Leaf{Name: "b"}, old)
	both := func(step string) {
		t.Helper()
		well(t, step+", a asks b", a, b)
		well(t, step+", b asks a", b, a)
	}
	both("at first")
	for _, step := range []struct {
		n        *node
		by       *testca.CA
		believes []*testca.CA
	}{
		{a, old, []*testca.CA{old, fresh}}, {b, old, []*testca.CA{old, fresh}},
		{a, fresh, []*testca.CA{old, fresh}}, {b, fresh, []*testca.CA{old, fresh}},
		{a, fresh, []*testca.CA{fresh}}, {b, fresh, []*testca.CA{fresh}},
	} {
		step.n.give(step.by, testca.Leaf{Name: "n"}, step.believes...)
		both(fmt.Sprintf("%d authorities", len(step.believes)))
	}
}

// Files that come later than the agent are used as soon as they are there.
func TestFilesComeLater(t *testing.T) {
	ca := newCA(t)
	a, b := newNode(t), newNode(t)
	a.give(ca, testca.Leaf{Name: "a"}, ca)
	err, _ := meet(t, a, b)
	if err == nil {
		t.Error("a server without files was believed")
	}
	_, err = meet(t, a, b)
	want(t, "server without files", err, "cannot be read")
	if got := b.set.Certificates()[1]; got.Problem == "" || !got.NotAfter.IsZero() {
		t.Errorf("state %+v", got)
	}
	b.give(ca, testca.Leaf{Name: "b"}, ca)
	well(t, "once they are there", a, b)
}

func TestNew(t *testing.T) {
	for _, f := range []Files{{}, {Cert: "/c", Key: "/k"}, {CA: "/a", Cert: "/c"}, {CA: "/a", Key: "/k"}} {
		if _, err := New(f, nil); err == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
}

func TestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	s := NewSecret(path)
	if _, err := s.Read(); err == nil {
		t.Error("a missing file was read")
	}
	for _, tt := range []struct{ content, want string }{{"a\n", "a"}, {"b\r\n", "b"}, {"", ""}, {"c", "c"}} {
		if err := testca.Replace(path, []byte(tt.content)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Read(); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v", tt.content, got, err)
		}
	}
}
