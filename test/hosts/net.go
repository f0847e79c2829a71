//go:build linux

package hosts

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/quorumd/quorumd/test/ports"
)

// ports are the same on every host, as in production: agents find each other by
// EC2's address and their own configured ports.
//
// behind and peerBehind are where etcd listens when a proxy has its port.
type portSet struct{ client, peer, metrics, agentPeer, agentMetrics, fleetLock, behind, peerBehind int }

func (p *portSet) all() (all []int) {
	for _, port := range p.each() {
		all = append(all, *port)
	}
	return all
}

func (p *portSet) each() []*int {
	return []*int{&p.client, &p.peer, &p.metrics, &p.agentPeer, &p.agentMetrics, &p.fleetLock, &p.behind, &p.peerBehind}
}

var usualPorts = portSet{client: 2379, peer: 2380, metrics: 2381, agentPeer: 2382, agentMetrics: 9382, fleetLock: 2383, behind: 2378, peerBehind: 2377}

// Host .1 of a fleet's subnet is AWS, its hosts are .11 and up.
const awsHost, firstHost, lastHost = 1, 11, 250

// pickNet takes a subnet and finds ports for it. Something that listens on all
// addresses takes its port from all of them, so then it is another port.
func pickNet() (*ports.Net, portSet, error) {
	n, err := ports.Take()
	if err != nil {
		return nil, portSet{}, err
	}
	p := usualPorts
	if n.Listenable(p.all()...) {
		return n, p, nil
	}
	found, err := n.Ports(len(p.each()))
	if err != nil {
		return nil, p, errors.Join(err, n.Return())
	}
	for i, port := range p.each() {
		*port = found[i]
	}
	return n, p, nil
}

func httpURL(a netip.Addr, port int) string { return hostURL("http", a, port) }

func hostURL(scheme string, a netip.Addr, port int) string {
	return fmt.Sprintf("%s://%s", scheme, netip.AddrPortFrom(a, uint16(port)))
}
