//go:build linux

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// slowMark is on what the proxy of a slow link sends, which must not come back to it.
const slowMark = 0x51

// SlowLink makes everything that this host sends to a TCP port of others, and gets
// back, late by delay each way, and loses packets: that many percent of those that
// leave the host to or from that port. It lasts until the returned function is called.
//
// The kernels this runs on may lack netem, so a proxy in this process holds the bytes
// back (connections are redirected to it), and only the loss is the kernel's.
// Connections that exist already are cut.
func (n *Net) SlowLink(port int, delay time.Duration, percent int) (stop func() error, err error) {
	ln, err := n.lab.Listen(n, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &slowProxy{net: n, delay: delay}
	p.tasks.Go(func() { p.serve(ln) })
	rules := fmt.Sprintf(`table inet slow {
	chain turn {
		type nat hook output priority -100;
		meta mark %[1]d accept
		ip daddr %[2]s tcp dport %[3]d redirect to :%[4]d
	}
	chain lose {
		type filter hook output priority 0;
		oifname "eth0" tcp dport %[3]d meta mark != %[1]d reject with tcp reset
		oifname "eth0" tcp dport %[3]d numgen random mod 100 < %[5]d counter drop
		oifname "eth0" tcp sport %[3]d numgen random mod 100 < %[5]d counter drop
	}
}`, slowMark, Subnet, port, ln.Addr().(*net.TCPAddr).Port, percent)
	end := func() error {
		err := ln.Close()
		if _, gone := os.Stat(n.path()); gone == nil { // else the rules went with the host
			err = errors.Join(err, n.nft("delete table inet slow"))
		}
		p.close()
		return err
	}
	if err := n.nft(rules); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return end, nil
}

// CutPort loses every packet between this host and others that goes to a TCP port or comes
// from it, either way, as a firewall between them does. It lasts until the returned
// function is called.
func (n *Net) CutPort(port int) (stop func() error, err error) {
	err = n.nft(fmt.Sprintf(`table inet cut {
	chain out {
		type filter hook output priority 0;
		oifname "eth0" tcp dport %[1]d drop
		oifname "eth0" tcp sport %[1]d drop
	}
	chain in {
		type filter hook input priority 0;
		iifname "eth0" tcp dport %[1]d drop
		iifname "eth0" tcp sport %[1]d drop
	}
}`, port))
	return func() error {
		if _, gone := os.Stat(n.path()); gone != nil {
			return nil // the rules went with the host
		}
		return n.nft("delete table inet cut")
	}, err
}

// Deaf loses every packet that comes from another host; what this one sends arrives there. It
// lasts until the returned function is called.
func (n *Net) Deaf(to netip.Addr) (stop func() error, err error) {
	err = n.nft(fmt.Sprintf(`table inet deaf {
	chain in {
		type filter hook input priority 0;
		ip saddr %s drop
	}
}`, to))
	return func() error {
		if _, gone := os.Stat(n.path()); gone != nil {
			return nil // the rules went with the host
		}
		return n.nft("delete table inet deaf")
	}, err
}

// CutPeers loses every packet between this host and some other addresses, either way, until
// the returned function is called: a link between two that reach all others, or one
// host's part of a partition.
func (n *Net) CutPeers(peers ...netip.Addr) (stop func() error, err error) {
	var set []string
	for _, p := range peers {
		set = append(set, p.String())
	}
	err = n.nft(fmt.Sprintf(`table inet cutpeer {
	chain out {
		type filter hook output priority 0;
		ip daddr { %[1]s } drop
	}
	chain in {
		type filter hook input priority 0;
		ip saddr { %[1]s } drop
	}
}`, strings.Join(set, ", ")))
	return func() error {
		if _, gone := os.Stat(n.path()); gone != nil {
			return nil // the rules went with the host
		}
		return n.nft("delete table inet cutpeer")
	}, err
}

func (n *Net) nft(rules string) error {
	ctx, cancel := context.WithTimeout(context.Background(), netTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", n.namespace(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft in %s: %w: %s", n.name, err, out)
	}
	return nil
}

// slowProxy carries redirected connections to where they were meant for.
type slowProxy struct {
	net   *Net
	delay time.Duration
	tasks sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

func (p *slowProxy) serve(ln net.Listener) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return // closed
		}
		p.tasks.Go(func() { p.carry(in.(*net.TCPConn)) })
	}
}

// keep registers a connection to be cut at the end; false: that has come.
func (p *slowProxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns = append(p.conns, c)
	return true
}

func (p *slowProxy) close() {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.tasks.Wait()
}

func (p *slowProxy) carry(in *net.TCPConn) {
	defer in.Close()
	if !p.keep(in) {
		return
	}
	to, err := originalDestination(in)
	if err != nil {
		return
	}
	out, err := inNamespace(p.net.path(), func() (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, c syscall.RawConn) (err error) {
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, slowMark) }); e != nil {
				return e
			}
			return err
		}}
		return d.Dial("tcp", to.String())
	})
	if err != nil {
		return // refused there, closed here
	}
	defer out.Close()
	if !p.keep(out) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.late(out, in) })
	both.Go(func() { p.late(in, out) })
	both.Wait()
}

// late copies what comes, each piece that much later, and then the end.
func (p *slowProxy) late(to, from net.Conn) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 4096)
	go func() { // ends when from does, which close sees to
		defer close(pieces)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{time.Now().Add(p.delay), buf[:n]}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					to.Close()
				}
				return
			}
		}
	}()
	var err error
	for piece := range pieces {
		if err == nil {
			time.Sleep(time.Until(piece.due)) // the delay itself
			if _, err = to.Write(piece.data); err != nil {
				from.Close()
			}
		}
	}
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite() // it may be closed already
	}
}

// originalDestination is where a redirected connection was meant for.
func originalDestination(c *net.TCPConn) (to netip.AddrPort, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return to, err
	}
	var got *unix.IPv6Mreq // as large as a sockaddr_in, and the kernel does not mind
	const soOriginalDst = 80
	if e := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, soOriginalDst) }); e != nil || err != nil {
		return to, os.NewSyscallError("getsockopt", errors.Join(e, err))
	}
	b := got.Multiaddr // family, port, address
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4])), nil
}
