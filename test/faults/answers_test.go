//go:build faults && linux

package faults

import (
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/quorumd/quorumd/test/hosts"
)

// changing reports whether a call changes something, so that its lost answer
// leaves an unknown outcome behind. Writers only Put, agents never do.
func changing(call string) bool {
	switch call {
	case "/etcdserverpb.KV/Txn", "/etcdserverpb.Lease/LeaseGrant", "/etcdserverpb.Maintenance/MoveLeader":
		return true
	case "/etcdserverpb.Cluster/MemberList":
		return false
	}
	return strings.HasPrefix(call, "/etcdserverpb.Cluster/") || !strings.HasPrefix(call, "/") && !strings.HasPrefix(call, "Describe")
}

// loseFirst loses the first answer to every kind of change, of every agent.
func loseFirst(c *hosts.Config) {
	var mu sync.Mutex
	lost := map[string]bool{}
	c.Answered = func(a hosts.Answer) (forward bool) {
		if !changing(a.Call) {
			return true
		}
		caller := a.Caller()
		if caller == nil {
			return true
		}
		key := caller.ID + a.Call
		mu.Lock()
		defer mu.Unlock()
		if lost[key] {
			return true
		}
		lost[key] = true
		return false
	}
}

// loseSome loses one of four answers to changes.
func loseSome(c *hosts.Config) {
	c.Answered = func(a hosts.Answer) (forward bool) { return !changing(a.Call) || rand.N(4) != 0 }
}
