//go:build unix

package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
)

// Net is 127.x.y.0/24 of loopback: for as long as it is held, no other Net, of this
// process or another, is the same. A port that is only looked for and closed again is
// nobody's until it is listened on; in the range of which the kernel takes ports of
// connections it is soon somebody else's.
type Net struct {
	x, y byte
	held net.Listener
}

// reserved is the host and port of a Net whose listener says that it is taken.
const (
	reservedHost = 254
	reservedPort = 19999
)

// Take holds a Net that nobody holds. It is to be returned.
func Take() (*Net, error) {
	var last error
	for range 100 {
		// 127.0.0.0/16 is where people put things by hand.
		n := &Net{x: byte(1 + rand.N(250)), y: byte(rand.N(250))}
		var err error
		if n.held, err = net.Listen("tcp", netip.AddrPortFrom(n.Addr(reservedHost), reservedPort).String()); err == nil {
			return n, nil
		}
		last = err
	}
	return nil, fmt.Errorf("find a subnet of 127.0.0.0/8 that is free: none of 100 tried; the last: %w", last)
}

// Return gives it to others.
func (n *Net) Return() error { return Free(n.held) }

// Addr is 127.x.y.host.
func (n *Net) Addr(host byte) netip.Addr { return netip.AddrFrom4([4]byte{127, n.x, n.y, host}) }

// String is the subnet, as 127.x.y.0/24.
func (n *Net) String() string { return netip.PrefixFrom(n.Addr(0), 24).String() }

// Listenable reports whether none of the ports is listened on by something that listens
// on all addresses.
func (n *Net) Listenable(ports ...int) bool {
	for _, port := range ports {
		ln, err := net.Listen("tcp", netip.AddrPortFrom(n.Addr(reservedHost), uint16(port)).String())
		if err != nil || Free(ln) != nil {
			return false
		}
	}
	return true
}

// Ports are n ports, each the one before and one, that can be listened on at every
// address of the Net. They are below the range from which the kernel takes ports of
// connections.
func (n *Net) Ports(count int) ([]int, error) {
	for range 20 {
		ports := make([]int, count)
		base := 20000 + rand.N(10000)
		for i := range ports {
			ports[i] = base + i
		}
		if n.Listenable(ports...) {
			return ports, nil
		}
	}
	return nil, errors.New("find ports between 20000 and 30000 on which nothing listens on all addresses: none of 20 tried")
}
