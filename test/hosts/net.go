//go:build linux

package hosts

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
)

// ports are the same on every host, as in production: agents find each other by
// EC2's address and their own configured ports.
//
// behind is where etcd listens when a proxy has its client port.
type ports struct{ client, peer, metrics, agentPeer, agentMetrics, behind int }

func (p *ports) each() []*int {
	return []*int{&p.client, &p.peer, &p.metrics, &p.agentPeer, &p.agentMetrics, &p.behind}
}

var usualPorts = ports{client: 2379, peer: 2380, metrics: 2381, agentPeer: 2382, agentMetrics: 9382, behind: 2378}

// subnet is 127.x.y.0/24: .1 is AWS, hosts are .11 and up.
type subnet [2]byte

func (s subnet) addr(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, s[0], s[1], n}) }

const firstHost, lastHost = 11, 250

// pickNet finds a subnet and ports that nobody else uses. Another fleet takes
// another subnet; something that listens on all addresses takes its port from
// all of them, so then it is another port. Nothing reserves them: whoever comes
// in between makes a host fail to start, and says so.
func pickNet() (subnet, ports, error) {
	for try := range 20 {
		// 127.0.0.0/16 is where people put things by hand.
		s := subnet{byte(1 + rand.N(250)), byte(rand.N(250))}
		p := usualPorts
		if try >= 3 {
			p = randomPorts()
		}
		if s.free(p) {
			return s, p, nil
		}
	}
	return subnet{}, ports{}, errors.New("find a subnet of 127.0.0.0/8 with free ports: none of 20 tried")
}

// randomPorts are below the range from which the kernel takes ports of
// connections.
func randomPorts() (p ports) {
	base := 20000 + 10*rand.N(1000)
	for i, port := range p.each() {
		*port = base + i
	}
	return p
}

func (s subnet) free(p ports) bool {
	for _, n := range []byte{1, firstHost, firstHost + 1, firstHost + 2} {
		for _, port := range p.each() {
			ln, err := net.Listen("tcp", net.JoinHostPort(s.addr(n).String(), strconv.Itoa(*port)))
			if err != nil {
				return false
			}
			ln.Close()
		}
	}
	return true
}

func httpURL(a netip.Addr, port int) string { return hostURL("http", a, port) }

func hostURL(scheme string, a netip.Addr, port int) string {
	return fmt.Sprintf("%s://%s", scheme, netip.AddrPortFrom(a, uint16(port)))
}
