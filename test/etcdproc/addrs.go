package etcdproc

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/quorumd/quorumd/test/ports"
)

// addrs are the loopback addresses of one test, which no other test has.
type addrs struct {
	net   *ports.Net
	ports []int // client, peer, metrics: the same at every address

	mu   sync.Mutex
	used int
}

var (
	allAddrs   = map[testing.TB]*addrs{}
	allAddrsMu sync.Mutex
)

// addrsOf takes a subnet for the test, once.
func addrsOf(tb testing.TB) *addrs {
	tb.Helper()
	allAddrsMu.Lock()
	defer allAddrsMu.Unlock()
	if a, ok := allAddrs[tb]; ok {
		return a
	}
	n, err := ports.Take()
	if err != nil {
		tb.Fatalf("etcdproc: %v", err)
	}
	tb.Cleanup(func() { // after the members' ends
		allAddrsMu.Lock()
		defer allAddrsMu.Unlock()
		delete(allAddrs, tb)
		_ = n.Return() // nobody needs just this one
	})
	a := &addrs{net: n}
	if a.ports, err = n.Ports(3); err != nil {
		tb.Fatalf("etcdproc: %v", err)
	}
	allAddrs[tb] = a
	return a
}

// certified is how many members have addresses for which certificates are valid.
const certified = 10

func (a *addrs) host(member int) netip.Addr { return a.net.Addr(byte(11 + member)) }

// next is one that had no member before.
func (a *addrs) next() netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used++
	return a.host(a.used - 1)
}

// IPs are 127.0.0.1 and the addresses that the test's first ten members get, the first
// member's next to it.
func IPs(tb testing.TB) []net.IP {
	tb.Helper()
	a := addrsOf(tb)
	ips := []net.IP{net.IPv4(127, 0, 0, 1)}
	for i := range certified {
		ips = append(ips, a.host(i).AsSlice())
	}
	return ips
}
