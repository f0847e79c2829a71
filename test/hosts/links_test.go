//go:build linux

package hosts

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestLink: what goes through a link comes out as it was, no sooner than it may, and
// losses cost time only; a link that is cut or closed cuts who is connected.
func TestLink(t *testing.T) {
	s, p, err := pickNet()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Return()
	f := &Fleet{cfg: Config{Links: Links{Delay: 20 * time.Millisecond, Loss: 0.2}}, ports: p}
	h := &Host{Addr: s.Addr(firstHost), fleet: f}
	echo, err := net.Listen("tcp", netip.AddrPortFrom(h.Addr, uint16(p.peerBehind)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // ends with the connection
			}()
		}
	}()
	l, err := f.newLink(h)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	began := time.Now()
	c, err := net.Dial("tcp", l.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make([]byte, 40*segment+7)
	rand.Read(sent)
	go func() {
		_, _ = c.Write(sent)              // what is missing is seen below
		_ = c.(*net.TCPConn).CloseWrite() // so that the echo ends
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("sent %d bytes, got %d (%v), equal: %v", len(sent), len(got), err, bytes.Equal(got, sent))
	}
	// 82 segments, each lost with 0.2: that none is has a chance of 1e-8.
	if took := time.Since(began); took < 240*time.Millisecond || took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	if c, err = net.Dial("tcp", l.ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // so it is carried
		t.Fatal(err)
	}
	f.cut.Store(true)
	l.cutAll()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives a cut")
	}
	read := func() error {
		c, err := net.Dial("tcp", l.ln.Addr().String())
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		return err
	}
	if read() == nil {
		t.Error("a cut link carries something")
	}
	f.cut.Store(false)
	if err := read(); err != nil {
		t.Errorf("a link that was cut: %v", err)
	}
	if c, err = net.Dial("tcp", l.ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its link")
	}
}
