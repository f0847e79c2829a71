//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Net is a network namespace with a cable to the lab's bridge. Every host has
// one; one without a host is a place for a test's own servers.
type Net struct {
	lab  *Lab
	name string // within the lab: "aws", "h1"
	addr netip.Addr
	port string // its end of the cable in the hub's namespace
}

// IMDSAddr is where an EC2 instance finds its metadata. Every host of the lab
// has it on its own loopback, so that an emulator there answers only that host.
const IMDSAddr = "169.254.169.254"

// Addr is the address on the lab's network.
func (n *Net) Addr() netip.Addr { return n.addr }

// namespace is the name that `ip netns` shows.
func (n *Net) namespace() string { return n.lab.id + "-" + n.name }

func (n *Net) path() string { return filepath.Join("/run/netns", n.namespace()) }

// netTimeout bounds one step of setting up; each takes milliseconds.
const netTimeout = 20 * time.Second

func (l *Lab) newHub() (*Net, error) {
	hub := &Net{lab: l, name: "lab", addr: hubAddr}
	ns := hub.namespace()
	return hub, ipAll(
		[]string{"netns", "add", ns},
		[]string{"-n", ns, "link", "set", "lo", "up"},
		[]string{"-n", ns, "link", "add", "br0", "type", "bridge"},
		[]string{"-n", ns, "addr", "add", cidr(hub.addr), "dev", "br0"},
		[]string{"-n", ns, "link", "set", "br0", "up"},
	)
}

// AddNet makes a namespace on the bridge. Name: at most 12 letters, unique.
func (l *Lab) AddNet(name string, addr netip.Addr) (*Net, error) {
	if len(name) == 0 || len(name) > 12 {
		return nil, fmt.Errorf("name %q: want 1 to 12 letters", name)
	}
	if !Subnet.Contains(addr) {
		return nil, fmt.Errorf("address %s is not in %s", addr, Subnet)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the lab is closed")
	}
	for _, other := range l.nets {
		if other.name == name || other.addr == addr {
			return nil, fmt.Errorf("%s %s: the lab has a %s at %s", name, addr, other.name, other.addr)
		}
	}
	n := &Net{lab: l, name: name, addr: addr, port: "v-" + name}
	ns, hub := n.namespace(), l.hub.namespace()
	l.nets[name] = n
	return n, ipAll(
		[]string{"netns", "add", ns},
		[]string{"-n", ns, "link", "set", "lo", "up"},
		[]string{"-n", hub, "link", "add", n.port, "type", "veth", "peer", "name", "eth0", "netns", ns},
		[]string{"-n", hub, "link", "set", n.port, "master", "br0", "up"},
		[]string{"-n", ns, "addr", "add", cidr(addr), "dev", "eth0"},
		[]string{"-n", ns, "link", "set", "eth0", "up"},
	)
}

// LinkDown pulls the cable: nothing passes either way, and nobody is told.
func (n *Net) LinkDown() error { return n.setLink("down") }

// LinkUp puts the cable back.
func (n *Net) LinkUp() error { return n.setLink("up") }

func (n *Net) setLink(state string) error {
	return ipAll([]string{"-n", n.lab.hub.namespace(), "link", "set", n.port, state})
}

func cidr(a netip.Addr) string { return netip.PrefixFrom(a, Subnet.Bits()).String() }

func ipAll(steps ...[]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), netTimeout)
	defer cancel()
	for _, step := range steps {
		if _, err := run(ctx, append([]string{"ip"}, step...)...); err != nil {
			return err
		}
	}
	return nil
}

// Place is anything with a network namespace in the lab: a *Net or a *Host.
type Place interface{ net() *Net }

func (n *Net) net() *Net { return n }

// Listen makes a TCP listener inside a namespace of the lab; the server behind
// it runs in this process. Addr is "ip:port" with a literal address. The lab
// closes the listener, if nobody did before.
func (l *Lab) Listen(where Place, addr string) (net.Listener, error) {
	ln, err := inNamespace(where.net().path(), func() (net.Listener, error) {
		return net.Listen("tcp", addr)
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.Join(errors.New("the lab is closed"), ln.Close())
	}
	l.listeners = append(l.listeners, ln)
	return ln, nil
}

// Dial connects from the bridge's namespace into the lab, as a client on the
// same network would. Its form is what http.Transport and grpc.WithContextDialer
// (with network "tcp") want. Addr: a literal address.
func (l *Lab) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return inNamespace(l.hub.path(), func() (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	})
}

// DialGRPC is Dial in the form of grpc.WithContextDialer.
func (l *Lab) DialGRPC(ctx context.Context, addr string) (net.Conn, error) {
	return l.Dial(ctx, "tcp", addr)
}

// inNamespace calls f on a thread inside the network namespace. A socket
// belongs for ever to the namespace it was made in, so f's result may be used
// anywhere afterwards. The thread never comes back: the goroutine ends without
// unlocking it, and the runtime then ends the thread. f must make its sockets
// itself, not in another goroutine: so literal addresses, which need no resolver.
func inNamespace[T any](path string, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() { done <- r }()
		runtime.LockOSThread()
		ns, err := os.Open(path)
		if err != nil {
			r.err = err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			r.err = fmt.Errorf("enter namespace %s: %w", path, err)
			return
		}
		r.v, r.err = f()
	}()
	r := <-done
	return r.v, r.err
}
