//go:build linux

package hosts

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumd/quorumd/test/ports"
	"github.com/quorumd/quorumd/units"
)

// Links is what lies between members: what one sends reaches the other Delay later,
// and Loss (0 to 1) of all segments are lost once. What a lost segment is to those who
// speak TCP is time: it, and all behind it, comes when it was sent again, which Linux
// does a round trip and 200 ms later.
type Links struct {
	Delay time.Duration
	Loss  float64
}

// segment is the most that is delayed or lost at once, in bytes: Ethernet's.
const segment = 1448

// arrives tells how long a segment is under way.
func (l Links) arrives() time.Duration {
	d := l.Delay
	for rand.Float64() < l.Loss {
		d += 2*l.Delay + 200*time.Millisecond
	}
	return d
}

// CutLinks cuts what lies between all members, or joins it again: their processes live,
// and none hears another. It needs Config.Links.
func (f *Fleet) CutLinks(cut bool) {
	f.cut.Store(cut)
	for _, h := range f.Hosts() {
		h.cutLinks()
	}
}

// link stands at the peer port of one host's etcd, which listens on another port.
// A connection passes one of them, that of whom it was made to.
type link struct {
	Links
	ln    net.Listener
	to    string
	cut   *atomic.Bool // no connection stays, or is made
	mu    sync.Mutex
	conns map[net.Conn]bool // nil once it is closed
	tasks sync.WaitGroup
}

func (f *Fleet) newLink(h *Host) (*link, error) {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(h.Addr, uint16(f.ports.peer)).String())
	if err != nil {
		return nil, err
	}
	l := &link{Links: f.cfg.Links, ln: ln, cut: &f.cut, conns: map[net.Conn]bool{},
		to: netip.AddrPortFrom(h.Addr, uint16(f.ports.peerBehind)).String()}
	l.tasks.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return // closed
			}
			l.tasks.Go(func() { l.carry(in) })
		}
	})
	return l, nil
}

// close cuts all connections.
func (l *link) close() {
	_ = ports.Free(l.ln) // who listens there next says so if it is not
	l.mu.Lock()
	for c := range l.conns {
		c.Close()
	}
	l.conns = nil
	l.mu.Unlock()
	l.tasks.Wait()
}

// cutAll cuts the connections that there are, if it is to.
func (l *link) cutAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if l.cut.Load() {
			c.Close()
		}
	}
}

// keep notes an open connection; after close, or while links are cut, it closes it.
func (l *link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil || l.cut.Load() {
		c.Close()
		return false
	}
	l.conns[c] = true
	return true
}

func (l *link) drop(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// carry carries one connection, until either end has closed it.
func (l *link) carry(in net.Conn) {
	if !l.keep(in) {
		return
	}
	defer l.drop(in)
	out, err := net.Dial("tcp", l.to)
	if err != nil || !l.keep(out) {
		return
	}
	defer l.drop(out)
	var both sync.WaitGroup
	both.Go(func() { l.pump(out, in) })
	both.Go(func() { l.pump(in, out) })
	both.Wait()
}

// pump carries one direction. Its end, too, takes its time.
func (l *link) pump(to, from net.Conn) {
	type parcel struct {
		due  time.Time
		data []byte // nil: the end
	}
	under := make(chan parcel, 256) // as a window does, it bounds what is under way
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range under {
			time.Sleep(time.Until(p.due))
			if p.data == nil {
				if half, ok := to.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite() // the other end may have gone
				}
				continue
			}
			if _, err := to.Write(p.data); err != nil {
				from.Close() // whoever sends shall know
			}
		}
	}()
	last := time.Time{}
	for {
		b := make([]byte, segment)
		n, err := from.Read(b)
		if due := time.Now().Add(l.arrives()); due.After(last) {
			last = due // nothing overtakes
		}
		if n > 0 {
			under <- parcel{last, b[:n]}
		}
		if err != nil {
			if err == io.EOF {
				under <- parcel{due: last}
			} else {
				to.Close()
			}
			break
		}
	}
	close(under)
	<-done
}

// cutLinks has those that the host has cut, if they are to be.
func (h *Host) cutLinks() {
	h.power.Lock()
	defer h.power.Unlock()
	for _, p := range h.before {
		if l, ok := p.(*link); ok {
			l.cutAll()
		}
	}
}

// operatorsDropIn is what an operator may add to etcd's unit: neither etcd nor the
// agent knows that proxies stand before it.
func (h *Host) operatorsDropIn() units.DropIn {
	text := "[Service]\n"
	set := func(assignment string) { text += "Environment=" + assignment + "\n" }
	if h.fleet.cfg.Answered != nil {
		set("ETCD_LISTEN_CLIENT_URLS=" + httpURL(h.Addr, h.fleet.ports.behind))
	}
	if h.fleet.cfg.Links != (Links{}) {
		set("ETCD_LISTEN_PEER_URLS=" + httpURL(h.Addr, h.fleet.ports.peerBehind))
	}
	for _, assignment := range h.fleet.cfg.EtcdEnv {
		set(assignment)
	}
	return units.DropIn{Unit: EtcdUnit, Name: "99-operator.conf", Content: []byte(text)}
}
