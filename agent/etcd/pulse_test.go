package etcd

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

func portsOf(m *etcdproc.Member) Ports {
	return Ports{Client: m.ClientURL, Peer: m.PeerURL, Metrics: m.MetricsURL}
}

// words are what a pulse says, in short: leader, client, peer, metrics.
func words(p policy.Pulse) string {
	return string(p.Leader) + " " + string(p.Client.Answer) + " " + string(p.PeerPort.Answer) + " " + string(p.Metrics.Answer)
}

// TestPulse looks at one member from a healthy cluster down to a frozen process.
func TestPulse(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	m := cl.Member("i-a")
	c := clientOf(t, m, cl.ClientURLs())
	ctx := soon(t)
	saying := func(want string) policy.Pulse {
		t.Helper()
		var p policy.Pulse
		eventually(t, want, func() bool { p = c.Pulse(ctx, portsOf(m)); return words(p) == want })
		return p
	}
	p := saying("some answers answers answers")
	if p.Term == 0 || p.Committed == 0 || p.LeaderID == 0 || p.Version == "" {
		t.Errorf("a member that serves says %+v", p)
	}
	h, err := c.Probe(ctx, m.ClientURL)
	must(t, err)
	if p.Leads != (p.LeaderID == h.Member) {
		t.Errorf("%s says %+v", h.Member, p)
	}
	cl.Member("i-b").Kill()
	cl.Member("i-c").Kill()
	p = saying("none answers answers answers")
	if p.LeaderID != 0 || p.Committed == 0 || p.Applied == 0 {
		t.Errorf("without a leader it says %+v", p)
	}
	index := p.Committed
	// Started anew without a quorum it never serves clients.
	m.Stop()
	saying(" silent silent silent")
	m.StartExisting(cl.Members()...)
	p = saying("none silent answers answers")
	if p.Version == "" || p.Committed != 0 {
		t.Errorf("started without a quorum it says %+v", p)
	}
	// Its ports answer before it has applied what its log says was committed.
	eventually(t, "what was committed to be applied", func() bool { p = c.Pulse(ctx, portsOf(m)); return p.Applied == index })
	m.Pause()
	saying(" silent silent silent")
	// It stays so: connections that are given up meanwhile are no refusals.
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		if p := c.Pulse(ctx, portsOf(m)); words(p) != " silent silent silent" {
			_, err := c.Probe(ctx, m.ClientURL)
			t.Fatalf("frozen it says %q; a probe: %v", words(p), err)
		}
	}
	m.Resume()
	saying("none silent answers answers")
}

// Certificates in between say nothing about the member behind them.
func TestPulseTLS(t *testing.T) {
	t.Parallel()
	ca, other := etcdproc.NewCA(t), etcdproc.NewCA(t)
	cert, key := ca.Issue("server")
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{ClientTLS: &etcdproc.ServerTLS{CertFile: cert, KeyFile: key}})
	m := cl.Member("i-a")
	ctx := soon(t)
	for name, c := range map[string]struct {
		ca    string
		ports func(*Ports)
		want  string
	}{
		"well":                        {ca.File, func(*Ports) {}, "some answers answers answers"},
		"wrong authority":             {other.File, func(*Ports) {}, "some cannot-tell answers answers"},
		"no metrics either":           {other.File, func(p *Ports) { p.Metrics = closedPort(t) }, " cannot-tell answers silent"},
		"TLS to a peer that has none": {ca.File, func(p *Ports) { p.Peer = "https" + strings.TrimPrefix(p.Peer, "http") }, "some answers cannot-tell answers"},
	} {
		ports := portsOf(m)
		c.ports(&ports)
		p := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: c.ca})).Pulse(ctx, ports)
		if words(p) != c.want {
			t.Errorf("%s: %q, want %q", name, words(p), c.want)
		}
		if p.CannotTell() != (name == "no metrics either") {
			t.Errorf("%s: cannot tell: %t", name, p.CannotTell())
		}
	}
}

// A password that is wrong leaves what the metrics say.
func TestPulseAuth(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{})
	m := cl.Member("i-a")
	ctx := soon(t)
	root := admin(t, m)
	_, err := root.RoleAdd(ctx, "root")
	must(t, err)
	_, err = root.UserAdd(ctx, "root", "secret")
	must(t, err)
	_, err = root.UserGrantRole(ctx, "root", "root")
	must(t, err)
	_, err = root.AuthEnable(ctx)
	must(t, err)
	p := clientOf(t, m, cl.ClientURLs(), withPassword(t, "root", "wrong")).Pulse(ctx, portsOf(m))
	if p.Leader != policy.LeaderSome || p.Metrics.Answer != policy.PortAnswers || p.Silent() {
		t.Errorf("with a wrong password it says %+v", p)
	}
}

// Whoever accepts and says nothing, or never ends, is silent within the bound.
func TestPulseSlow(t *testing.T) {
	t.Parallel()
	cl := etcdproc.New(t, etcdproc.Options{})
	m := cl.Add("i-a")
	c := clientOf(t, m, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		var kept []net.Conn
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				for _, conn := range kept {
					conn.Close()
				}
				return
			}
			kept = append(kept, conn)
			conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\netcd_server_has_leader 1\n"))
		}
	}()
	url := "http://" + ln.Addr().String()
	began := time.Now()
	p := c.Pulse(soon(t), Ports{Client: closedPort(t), Peer: "http://127.0.0.1:1", Metrics: url})
	if p.Metrics.Answer != policy.PortSilent || p.Leader != policy.LeaderUnknown || !p.Silent() || time.Since(began) > 2*c.timing.probe {
		t.Errorf("after %s it says %+v", time.Since(began), p)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

func TestReadMetrics(t *testing.T) {
	var p policy.Pulse
	must(t, readMetrics(&p, strings.NewReader(`# HELP etcd_server_has_leader Whether or not a leader exists.
etcd_server_has_leader 0
etcd_server_has_leader_x 1
etcd_server_is_leader 1
etcd_server_is_learner 1
etcd_server_proposals_committed_total 1.234567e+06
etcd_server_proposals_applied_total NaN
grpc{code="x y"} 3
nonsense
`)))
	want := policy.Pulse{Leader: policy.LeaderNone, Leads: true, Learner: true, Committed: 1234567}
	if p != want {
		t.Errorf("read %+v, want %+v", p, want)
	}
}
