package fakeaws

import (
	"fmt"
	"net/netip"
	"sync"
)

// IPAllocator hands out the private addresses of instances. Its methods are called with
// the Cloud locked and must not call it.
type IPAllocator interface {
	Allocate(instanceID string) (netip.Addr, error)
	// Release says that the machine with this address is gone. Whether the address is ever
	// handed out again is the allocator's decision.
	Release(netip.Addr)
}

// IPPool allocates the addresses of a range in order.
type IPPool struct {
	mu          sync.Mutex
	first, last netip.Addr
	next        netip.Addr
	reuse       bool
	free        map[netip.Addr]bool
}

// NewIPPool returns a pool of the addresses first to last. With reuse, the lowest
// released address is handed out before any new one: the hardest case for a cluster
// that might take an address for an identity. Without, none is handed out twice.
func NewIPPool(first, last netip.Addr, reuse bool) *IPPool {
	return &IPPool{first: first, last: last, next: first, reuse: reuse, free: map[netip.Addr]bool{}}
}

func defaultPool() *IPPool {
	return NewIPPool(netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.255.254"), false)
}

func (p *IPPool) Allocate(string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best netip.Addr
	for a := range p.free {
		if !best.IsValid() || a.Less(best) {
			best = a
		}
	}
	if best.IsValid() {
		delete(p.free, best)
		return best, nil
	}
	if !p.next.IsValid() || p.last.Less(p.next) {
		return netip.Addr{}, fmt.Errorf("no address left between %s and %s", p.first, p.last)
	}
	a := p.next
	p.next = a.Next()
	return a, nil
}

func (p *IPPool) Release(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reuse {
		p.free[a] = true
	}
}
