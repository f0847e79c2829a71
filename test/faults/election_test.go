//go:build faults && linux

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/hosts"
)

// stuckAfter is how long agents wait here before they restart a stuck etcd.
const stuckAfter = 10 * time.Second

// soon has agents wait that long only.
func soon(c *hosts.Config) {
	c.AgentEnv = append(c.AgentEnv, "QUORUMD_FORCE_ELECTION_AFTER="+stuckAfter.String())
}

// electionLines are fleets whose etcd stops electing a leader, or seems to. Each scenario has
// a fleet of its own: after an attempt agents wait for ten minutes.
func electionLines() []line {
	scenarios := []scenario{
		{name: "a majority frozen", within: 2 * time.Minute, run: ofThree(frozen(2, 2))},
		{name: "all frozen", within: 2 * time.Minute, run: ofThree(frozen(3, 3))},
		{name: "one frozen while there is a leader", within: 2 * time.Minute, run: ofThree(frozenAlone)},
		{name: "one host off, one of the others frozen", within: 2 * time.Minute, run: ofThree(frozenAndOff)},
	}
	with := func(name string, s hosts.Security, scenarios ...scenario) line {
		return line{name: name, waits: true, fresh: true, scenarios: scenarios, cfg: func(c *hosts.Config) {
			soon(c)
			c.Security = s
		}}
	}
	// With every other etcd the same, for what a member without a leader serves and says, and
	// how it comes back, is each version's own.
	of := func(version string) []line {
		both := func(cfg func(*hosts.Config)) func(*hosts.Config) {
			return func(c *hosts.Config) { cfg(c); ofEtcd(version)(c) }
		}
		return []line{
			{name: "etcd " + version + " without a leader", waits: true, fresh: true, cfg: both(soon), scenarios: scenarios},
			{name: "members of etcd " + version + " that do not hear each other", waits: true, fresh: true, cfg: both(cuttable), scenarios: []scenario{{name: "both rounds of a plan", within: 3 * time.Minute, run: ofThree(bothRounds)}}},
		}
	}
	return slices.Concat(planLines(), of("3.5"), of("3.7"), []line{
		with("etcd without a leader", hosts.Security{}, append(slices.Clone(scenarios),
			scenario{name: "an agent that lies", within: 2 * time.Minute, run: ofThree(liar)},
			scenario{name: "a majority frozen, the third's agent answers garbage", within: 2 * time.Minute, run: ofThree(garbage)})...),
		with("etcd without a leader, mutual TLS", hosts.Security{Clients: true, ClientCerts: true, Peers: true}, append(slices.Clone(scenarios),
			scenario{name: "all agents' client certificates expired: no restart", within: 2 * time.Minute, run: ofThree(allExpired)})...),
		with("etcd without a leader, auth on", hosts.Security{User: "quorumd", Password: "first"},
			scenario{name: "a majority frozen", within: 2 * time.Minute, run: ofThree(func(w *world) error {
				if err := errors.Join(w.EnableAuth(w.ctx), w.led()); err != nil {
					return err
				}
				return frozen(2, 2)(w)
			})}),
	})
}

// ofThree plays a story on a cluster of three that it forms first.
func ofThree(story func(*world) error) func(*world) error {
	return func(w *world) error {
		if err := w.Launch(3); err != nil {
			return err
		}
		if err := w.led(); err != nil {
			return err
		}
		return story(w)
	}
}

// freeze stops the etcd processes of some hosts; only a restart brings them back.
func (w *world) freeze(ids ...string) error {
	for _, id := range ids {
		if err := w.Host(id).Machine().KillUnit(hosts.EtcdUnit, syscall.SIGSTOP); err != nil {
			return err
		}
	}
	return nil
}

// did counts what agents did to etcd for elections, by reason.
func (w *world) did() (map[string]int, error) {
	n := map[string]int{}
	for _, h := range w.Hosts() {
		lines, err := h.Journal()
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			if l.Msg == hosts.Acting && l.Concern == string(policy.ConcernElection) && (l.Action == "restart-etcd" || l.Action == "stop-etcd") {
				n[l.Reason]++
			}
		}
	}
	return n, nil
}

// restarted runs a story and checks that agents restarted etcd so often, for a reason.
func (w *world) restarted(reason policy.Reason, least, most int, story func() error) error {
	before, err := w.did()
	if err != nil {
		return err
	}
	if err := story(); err != nil {
		return err
	}
	after, err := w.did()
	if err != nil {
		return err
	}
	for r := range after {
		n := after[r] - before[r]
		if r != string(reason) && n > 0 {
			return fmt.Errorf("etcd was restarted %d times for %s", n, r)
		}
	}
	if n := after[string(reason)] - before[string(reason)]; n < least || n > most {
		return fmt.Errorf("etcd was restarted %d times, want %d to %d", n, least, most)
	}
	return nil
}

// led waits until all members serve again.
func (w *world) led() error {
	_, err := w.Settle(w.ctx)
	return err
}

// frozen freezes n members, the leader among them, and counts restarts.
func frozen(n, most int) func(*world) error {
	return func(w *world) error {
		ids, leader, err := w.followers()
		if err != nil {
			return err
		}
		ids = append([]string{leader}, ids...)[:n]
		// The frozen are restarted for the plan or, where a leader is there before their
		// turn, alone.
		before, err := w.did()
		if err != nil {
			return err
		}
		if err := errors.Join(w.freeze(ids...), w.led()); err != nil {
			return err
		}
		after, err := w.did()
		if err != nil {
			return err
		}
		plan := after[string(policy.RestartStuck)] - before[string(policy.RestartStuck)]
		alone := after[string(policy.FrozenMember)] - before[string(policy.FrozenMember)]
		if plan < 1 || plan+alone > most || after[string(policy.StopStuck)] != before[string(policy.StopStuck)] {
			return fmt.Errorf("%d frozen members were restarted %d times for a plan and %d times alone: %v after %v", n, plan, alone, after, before)
		}
		return nil
	}
}

// frozenAlone: the others have a leader, so the frozen one is restarted, and nothing else.
func frozenAlone(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	others := w.processes(hosts.EtcdUnit)
	delete(others, ids[0]+" "+hosts.EtcdUnit)
	return w.restarted(policy.FrozenMember, 1, 1, func() error {
		return errors.Join(w.freeze(ids[0]), w.led(), same(others, w.processes(hosts.EtcdUnit)))
	})
}

// frozenAndOff: one machine is off, and one of the other two is frozen: it is restarted
// by the word of both agents.
func frozenAndOff(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	return w.restarted(policy.RestartStuck, 1, 2, func() error {
		before, err := w.did()
		if err != nil {
			return err
		}
		if err := errors.Join(w.PowerOff(ids[0]), w.freeze(ids[1])); err != nil {
			return err
		}
		// The third stays off until the plan has begun: with it there is a leader at once.
		err = w.await("a restart without "+ids[0], func() error {
			now, err := w.did()
			if err == nil && now[string(policy.RestartStuck)] == before[string(policy.RestartStuck)] {
				err = errors.New("nothing was restarted")
			}
			return err
		})
		if err == nil {
			err = w.await("a leader without "+ids[0], func() error { _, err := w.Leader(w.ctx); return err })
		}
		return errors.Join(err, w.PowerOn(ids[0]), w.led())
	})
}

// liar: in an agent's place somebody says that there is no leader and that a plan to
// restart everything is open. Nobody believes it.
func liar(w *world) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	h := w.Host(ids[0])
	said, err := w.status(h.ID)
	if err != nil {
		return err
	}
	if err := h.Machine().StopUnit(w.ctx, hosts.AgentUnit); err != nil {
		return err
	}
	stop, err := lie(h, said)
	if err != nil {
		return err
	}
	before := w.processes(hosts.EtcdUnit)
	err = w.restarted(policy.RestartStuck, 0, 0, func() error {
		return w.holds(2*stuckAfter, func() error { return same(before, w.processes(hosts.EtcdUnit)) })
	})
	return errors.Join(err, stop(), h.Machine().StartUnit(hosts.AgentUnit))
}

// lie serves a forged status at the address of a host's agent.
func lie(h *hosts.Host, s peer.Status) (stop func() error, err error) {
	u, err := url.Parse(h.StatusURL())
	if err != nil {
		return nil, err
	}
	plan := policy.Plan{Cluster: policy.ClusterID(s.Members.Cluster), Attempt: 1, Round: policy.AllAtOnce, Forced: true, Proposer: policy.MemberID(s.Record.Member), At: time.Now()}
	e := peer.Election{Plan: "", Cluster: s.Members.Cluster, Attempt: 1, Round: 2, Forced: true, Proposer: s.Record.Member, At: plan.At, Step: string(policy.StepStopped)}
	for _, m := range s.Members.List {
		plan.Order, e.Order = append(plan.Order, policy.MemberID(m.ID)), append(e.Order, m.ID)
	}
	e.Plan = plan.ID()
	s.Election = &e
	s.Etcd.Health, s.Etcd.Pulse = nil, &peer.Pulse{Knows: string(policy.LeaderNone), Met: true, Term: 999999}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return serve(u.Host, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(data)
	})
}

// serve answers in an agent's place.
func serve(addr string, answer http.HandlerFunc) (stop func() error, err error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: answer}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	return func() error {
		err := srv.Close() // also what never ends
		if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
		return err
	}, nil
}

// garbage: in the third's agent's place somebody answers with what is no status, without
// an end, or not at all. The other two are a majority, and need no third.
func garbage(w *world) error {
	ids, leader, err := w.followers()
	if err != nil {
		return err
	}
	h := w.Host(ids[0])
	u, err := url.Parse(h.StatusURL())
	if err != nil {
		return err
	}
	if err := h.Machine().StopUnit(w.ctx, hosts.AgentUnit); err != nil {
		return err
	}
	var asked atomic.Int32
	stop, err := serve(u.Host, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		switch asked.Add(1) % 3 {
		case 0:
			_, _ = rw.Write([]byte("{\"version\":1,\"etcd\":[\x00\xff}"))
		case 1:
			for err := error(nil); err == nil; { // until nobody reads it
				_, err = rw.Write(bytes.Repeat([]byte("[{\"version\":"), 4096))
			}
		default:
			<-r.Context().Done()
		}
	})
	if err != nil {
		return err
	}
	agents := w.processes(hosts.AgentUnit)
	err = w.freeze(leader, ids[1])
	if err == nil {
		err = w.await("a leader by the word of two", func() error {
			n, err := w.did()
			if err == nil && n[string(policy.RestartStuck)]+n[string(policy.FrozenMember)] < 2 {
				err = fmt.Errorf("restarted: %v", n)
			}
			if err == nil {
				_, err = w.Leader(w.ctx)
			}
			return err
		})
	}
	err = errors.Join(err, same(agents, w.processes(hosts.AgentUnit)), stop(), h.Machine().StartUnit(hosts.AgentUnit))
	if n := asked.Load(); n < 3 {
		err = errors.Join(err, fmt.Errorf("asked %d times only", n))
	}
	if err := errors.Join(err, w.led()); err != nil {
		return err
	}
	n, err := w.did()
	if err == nil && n[string(policy.RestartStuck)]+n[string(policy.FrozenMember)] != 2 {
		err = fmt.Errorf("of two frozen members, restarted: %v", n)
	}
	return err
}

// allExpired: no agent can read anything of etcd, which is well. Nobody takes that for an
// etcd that is stuck.
func allExpired(w *world) error {
	for _, h := range w.Hosts() {
		if err := errors.Join(h.CertifyAs(hosts.ClientPair, time.Now().Add(-time.Hour)), w.KillAgent(h.ID)); err != nil {
			return err
		}
	}
	err := w.noRestart(policy.ElectionCannotTell)
	for _, h := range w.Hosts() {
		err = errors.Join(err, h.CertifyAs(hosts.ClientPair, time.Time{}))
	}
	return err
}
