//go:build linux

package hosts

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Answer is a call that a process made and that took effect, of which the caller
// has not heard yet: the moment between an effect and its receipt.
type Answer struct {
	// Caller finds the host whose agent called; nil: somebody else, a writer say.
	Caller func() *Host
	// Call is the API's action ("CompleteLifecycleAction"), or etcd's method
	// ("/etcdserverpb.Cluster/MemberAdd").
	Call string
	// Form holds the parameters of an API call, Request the message to etcd.
	Form    url.Values
	Request []byte
}

// tellAWS lets every answer of the API pass Config.Answered. What it says not to
// forward ends as a cut connection.
func (f *Fleet) tellAWS(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kept := &keptAnswer{header: w.Header(), status: http.StatusOK}
		api.ServeHTTP(kept, r)
		if kept.status == http.StatusOK {
			a := Answer{Call: r.Form.Get("Action"), Form: r.Form, Caller: func() *Host {
				return f.callerAt(r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey))
			}}
			if !f.cfg.Answered(a) {
				panic(http.ErrAbortHandler)
			}
		}
		w.WriteHeader(kept.status)
		_, _ = w.Write(kept.body.Bytes()) // the caller may have gone
	})
}

// keptAnswer holds an answer back.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) Header() http.Header         { return k.header }
func (k *keptAnswer) WriteHeader(status int)      { k.status = status }
func (k *keptAnswer) Write(b []byte) (int, error) { return k.body.Write(b) }

func (f *Fleet) callerAt(remote string, local any) *Host {
	addr, ok := local.(net.Addr)
	if !ok {
		return nil
	}
	return f.caller(remote, addr.String())
}

// caller finds the host whose agent has the other end of a connection, as the
// kernel tells it: agents share one source address, so only the socket's owner
// tells them apart.
func (f *Fleet) caller(remote, local string) *Host {
	inode, err := socketInode(remote, local)
	if err != nil {
		return nil
	}
	for _, h := range f.Hosts() {
		m := h.Machine()
		if m == nil {
			continue
		}
		if pid := m.UnitPID(AgentUnit); pid != 0 && ownsSocket(pid, inode) {
			return h
		}
	}
	return nil
}

// socketInode finds the socket of a connection by its own and its peer's address.
func socketInode(own, peer string) (string, error) {
	a, err := procAddr(own)
	if err != nil {
		return "", err
	}
	b, err := procAddr(peer)
	if err != nil {
		return "", err
	}
	table, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer table.Close()
	for lines := bufio.NewScanner(table); lines.Scan(); {
		if col := strings.Fields(lines.Text()); len(col) > 9 && col[1] == a && col[2] == b {
			return col[9], nil
		}
	}
	return "", fmt.Errorf("no socket %s to %s", own, peer)
}

// procAddr writes an address as /proc/net/tcp does: four bytes in the order of the
// machine, which is little-endian wherever this runs, and the port.
func procAddr(s string) (string, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", err
	}
	ip := ap.Addr().Unmap().As4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], ap.Port()), nil
}

func ownsSocket(pid int, inode string) bool {
	want := "socket:[" + inode + "]"
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && to == want {
			return true
		}
	}
	return false
}
