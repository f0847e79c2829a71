//go:build faults && linux

package faults

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// tlsLines are fleets in which not everybody may speak to everybody. Each forms,
// loses its leader through the group, and lets the replacement join.
func tlsLines() []line {
	replaced := scenario{name: "the leader replaced", run: replaceLeader}
	two := scenario{name: "two of three told to go at once", run: twoAtOnce}
	return []line{
		{name: "mutual TLS for clients, peers and agents", cfg: secured(hosts.Security{Clients: true, ClientCerts: true, Peers: true}), scenarios: []scenario{
			replaced, two,
			{name: "all certificates replaced, then a node", run: newCertificates},
			{name: "the authority replaced, then a node", within: 2 * time.Minute, run: newAuthority},
			{name: "one agent's client certificate expired", run: expiredClient},
			{name: "one agent's peer certificate broken", run: brokenPeer},
		}},
		{name: "TLS of etcd's client port only", cfg: secured(hosts.Security{Clients: true}), scenarios: []scenario{replaced, two}},
		{name: "etcd's auth with users", cfg: secured(hosts.Security{User: "quorumd", Password: "first"}), scenarios: []scenario{
			{name: "switched on, then the leader replaced", run: authOn},
			two,
			{name: "tokens lost", run: tokensLost},
		}},
	}
}

func secured(s hosts.Security) func(*hosts.Config) { return func(c *hosts.Config) { c.Security = s } }

// processes are those of the agents and of etcd, by host.
func (w *world) processes(units ...string) map[string]int {
	pids := map[string]int{}
	for _, h := range w.Hosts() {
		if m := h.Machine(); m != nil {
			for _, unit := range units {
				pids[h.ID+" "+unit] = m.UnitPID(unit)
			}
		}
	}
	return pids
}

// same reports processes that are not what they were.
func same(was, is map[string]int) error {
	for name, pid := range was {
		if is[name] != pid {
			return fmt.Errorf("%s was process %d, is %d", name, pid, is[name])
		}
	}
	return nil
}

// newCertificates renews what every host shows, without a restart of anything, and
// then a node is replaced by one that has seen none of the old.
func newCertificates(w *world) error {
	before := w.processes(hosts.AgentUnit, hosts.EtcdUnit)
	for _, h := range w.Hosts() {
		if err := h.Certify(); err != nil {
			return err
		}
	}
	for _, h := range w.Hosts() {
		if err := errors.Join(w.shows(h, h.ClientURL(), hosts.ServerPair), w.shows(h, h.StatusURL(), hosts.PeerPair)); err != nil {
			return err
		}
	}
	if err := same(before, w.processes(hosts.AgentUnit, hosts.EtcdUnit)); err != nil {
		return err
	}
	return replaceLeader(w)
}

// shows waits until a port shows the certificate that is on the disk.
func (w *world) shows(h *hosts.Host, at, pair string) error {
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(h.CertDir(), pair+".pem"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	return w.await(at+" to show "+pair+".pem", func() error {
		// Who we are does not matter: the server shows its certificate first.
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
		ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
		defer cancel()
		conn, err := d.DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return err
		}
		defer conn.Close()
		if !bytes.Equal(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw, block.Bytes) {
			return errors.New("it shows another one")
		}
		return nil
	})
}

// newAuthority replaces the authority in the three steps that our README names. etcd
// reads its authorities at its start only, so each member is restarted once.
func newAuthority(w *world) error {
	if err := w.AddAuthority(); err != nil {
		return err
	}
	agents := w.processes(hosts.AgentUnit)
	for _, h := range w.Hosts() {
		if err := h.Certify(); err != nil {
			return err
		}
		if err := w.KillEtcd(h.ID); err != nil {
			return err
		}
		if _, err := w.Settle(w.ctx); err != nil {
			return err
		}
	}
	w.UseAuthority()
	for _, h := range w.Hosts() {
		if err := h.Certify(); err != nil {
			return err
		}
	}
	w.ForgetAuthorities()
	if err := same(agents, w.processes(hosts.AgentUnit)); err != nil {
		return err
	}
	return replaceLeader(w)
}

// said waits until the agent of a host has logged, after the first from lines, one
// that has all these words in it.
func (w *world) said(h *hosts.Host, from int, words ...string) error {
	return w.await(h.ID+" to say "+strings.Join(words, " ... "), func() error {
		lines, err := h.Journal()
		if err != nil {
			return err
		}
	line:
		for _, l := range lines[min(from, len(lines)):] {
			for _, word := range words {
				if !strings.Contains(l.Raw, word) {
					continue line
				}
			}
			return nil
		}
		return errors.New("it did not")
	})
}

// sitsStill checks for a while that nothing is removed, restarted or begun anew, and
// that the agent of a host does nothing at all.
func (w *world) sitsStill(h *hosts.Host, from int, members fleet.Members) error {
	etcds := w.processes(hosts.EtcdUnit)
	return w.holds(8*time.Second, func() error {
		if err := same(etcds, w.processes(hosts.EtcdUnit)); err != nil {
			return err
		}
		now, err := w.Members(w.ctx)
		if err != nil {
			return err
		}
		for id, m := range members {
			if now[id] == nil || now[id].ID != m.ID || len(now) != len(members) {
				return fmt.Errorf("members are %s, were %s", now, members)
			}
		}
		lines, err := h.Journal()
		if err != nil {
			return err
		}
		for _, l := range lines[min(from, len(lines)):] {
			if l.Msg == hosts.Acting {
				return fmt.Errorf("the agent acts: %s", l.Raw)
			}
		}
		return nil
	})
}

// expiredClient: an agent that begins with a certificate that expired cannot read
// anything of etcd. It says which file, and does nothing; with a new one it goes on,
// without a restart.
func expiredClient(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	h := w.Host(ids[0])
	members, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	lines, err := h.Journal()
	if err != nil {
		return err
	}
	from := len(lines)
	if err := errors.Join(h.CertifyAs(hosts.ClientPair, time.Now().Add(-time.Hour)), w.KillAgent(h.ID)); err != nil {
		return err
	}
	path := filepath.Join(h.CertDir(), hosts.ClientPair+".pem")
	if err := w.said(h, from, `"cannot observe"`, `"fact":"members"`, path+" expired on "+time.Now().UTC().Format("2006-")); err != nil {
		return err
	}
	if err := w.said(h, from, "CertificateExpires", path); err != nil {
		return err
	}
	if err := w.sitsStill(h, from, members); err != nil {
		return err
	}
	agents := w.processes(hosts.AgentUnit)
	if err := h.CertifyAs(hosts.ClientPair, time.Time{}); err != nil {
		return err
	}
	if err := w.said(h, from, `"observed again"`, `"fact":"members"`); err != nil {
		return err
	}
	return same(agents, w.processes(hosts.AgentUnit))
}

// brokenPeer: a new certificate that does not belong to its key is said and not used.
func brokenPeer(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	h := w.Host(ids[0])
	members, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	lines, err := h.Journal()
	if err != nil {
		return err
	}
	from := len(lines)
	path := filepath.Join(h.CertDir(), hosts.PeerPair)
	good, err := os.ReadFile(path + ".key")
	if err != nil {
		return err
	}
	other, err := os.ReadFile(filepath.Join(h.CertDir(), hosts.ClientPair+".key"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".key", other, 0o600); err != nil {
		return err
	}
	if err := w.said(h, from, "the old content stays in use", path+".pem"); err != nil {
		return err
	}
	if err := w.sitsStill(h, from, members); err != nil {
		return err
	}
	if _, err := h.Get(w.ctx, h.StatusURL()); err != nil {
		return fmt.Errorf("the agent does not serve with its certificate of before: %w", err)
	}
	if err := os.WriteFile(path+".key", good, 0o600); err != nil {
		return err
	}
	return w.said(h, from, "certificate files are good again")
}

func authOn(w *world) error {
	if err := w.EnableAuth(w.ctx); err != nil {
		return err
	}
	return replaceLeader(w)
}

// tokensLost restarts every etcd in turn: what agents logged in for is forgotten.
func tokensLost(w *world) error {
	agents := w.processes(hosts.AgentUnit)
	for _, h := range w.Hosts() {
		if err := w.KillEtcd(h.ID); err != nil {
			return err
		}
		if _, err := w.Settle(w.ctx); err != nil {
			return err
		}
	}
	if err := same(agents, w.processes(hosts.AgentUnit)); err != nil {
		return err
	}
	return replaceLeader(w)
}
