//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/fleetlock"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
	"github.com/quorumd/quorumd/units"
)

// pairs is how often FleetLock's pair is asked, by turns with the bare calls.
const pairs = 300

// measurePair has one FleetLock client ask for the lock and give it back, over HTTP,
// and beside it puts and deletes a key: the least that a lock in etcd takes. Behind
// the handler are the lock's own two transactions, straight into acting and back; an
// agent's loop, which looks at the cluster before it grants, is not.
func (b *bench) measurePair(ctx context.Context, c *bare) error {
	cluster, err := clusterOf(ctx, c)
	if err != nil {
		return err
	}
	n, err := newNode(c, 1, cluster, &calls{})
	if err != nil {
		return err
	}
	defer n.Close()
	server := httptest.NewServer(fleetlock.Handler(direct{n}))
	defer server.Close()
	pair, bare, err := asPairs(ctx, server.URL+"/", c.urls()[0])
	if err != nil {
		return err
	}
	b.add("lock", "FleetLock's pair: the handler on the lock, without the agent's loop", "ms", pair)
	b.add("lock", "put and delete through the same etcd, bare", "ms", bare)
	b.add("lock", "that pair over put and delete, medians", "x", []float64{quantile(pair, 0.5) / quantile(bare, 0.5)}).atMost(1.7)
	return nil
}

// measureAgentPair asks an agent of three the same, which looks at the lock, the members and
// the group before it grants.
func (b *bench) measureAgentPair(ctx context.Context) (err error) {
	f, err := b.launch(ctx, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := f.Hosts()[0]
	// The first grant may wait for all members, and for leadership to go elsewhere.
	first, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = fleet.Until(first, 100*time.Millisecond, "the first grant", func(ctx context.Context) error { return ask(ctx, h.FleetLockURL(), preReboot) })
	if err == nil {
		err = ask(ctx, h.FleetLockURL(), steadyState)
	}
	if err != nil {
		return err
	}
	pair, bare, err := asPairs(ctx, h.FleetLockURL(), h.ClientURL())
	if err != nil {
		return err
	}
	b.add("lock", "FleetLock's pair, through an agent of three", "ms", pair)
	b.add("lock", "put and delete through the same member, bare", "ms", bare)
	b.add("lock", "FleetLock's pair through an agent over put and delete, medians", "x",
		[]float64{quantile(pair, 0.5) / quantile(bare, 0.5)}).atMost(1.7)
	handed, err := handOver(ctx, f.Hosts())
	if err != nil {
		return err
	}
	b.add("lock", "one node's steady state to the next node's grant, agents of three", "ms", handed).atMost(1000)
	begun, err := toReboot(ctx, f)
	if err != nil {
		return err
	}
	b.add("lock", "one node's steady state to the next node's reboot, agents of three", "ms", begun).atMost(1000)
	return nil
}

// handedOver is how often the lock goes from one node's client to the next one's.
const handedOver = 30

// handOver gives the times from one node's steady-state to the grant of the next node's
// client, which was refused before and asks again all the time, as no real one does: what
// is left is the agents' own.
func handOver(ctx context.Context, nodes []*hosts.Host) (times []float64, err error) {
	at := func(i int) string { return nodes[i%len(nodes)].FleetLockURL() }
	if err := ask(ctx, at(0), preReboot); err != nil {
		return nil, err
	}
	for i := range handedOver {
		var refused *refusal
		if err := ask(ctx, at(i+1), preReboot); !errors.As(err, &refused) {
			return nil, fmt.Errorf("pre-reboot while another holds the lock: %w", errors.Join(err, errors.New("it is not refused")))
		}
		began := time.Now()
		if err := ask(ctx, at(i), steadyState); err != nil {
			return nil, err
		}
		err := fleet.Until(ctx, time.Millisecond, "a grant", func(ctx context.Context) error { return ask(ctx, at(i+1), preReboot) })
		if err != nil {
			return nil, err
		}
		times = append(times, time.Since(began).Seconds()*1000)
	}
	return times, ask(ctx, at(handedOver), steadyState)
}

// rebooted is how often a node waits for another's slot to reboot.
const rebooted = 6

// toReboot gives the times from one node's steady-state to the instant at which the next
// node's agent has logind reboot that machine: it takes the slot, looks at everything, runs
// what comes before, hands over leadership where it has it, and marks the slot.
func toReboot(ctx context.Context, f *hosts.Fleet) (times []float64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("not within 5 minutes"))
	defer cancel()
	nodes := f.Hosts()
	for i := range rebooted {
		holder, next := nodes[i%len(nodes)], nodes[(i+1)%len(nodes)]
		err := fleet.Until(ctx, 10*time.Millisecond, "a grant", func(ctx context.Context) error { return ask(ctx, holder.FleetLockURL(), preReboot) })
		if err != nil {
			return nil, err
		}
		m := next.Machine()
		m.SetUpdate(units.UpdateStatus{Operation: units.UpdateNeedReboot, NewVersion: "2.0"})
		if err := fleet.Until(ctx, 10*time.Millisecond, next.ID+" to wait for the lock", func(ctx context.Context) error { return waits(ctx, next) }); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := ask(ctx, holder.FleetLockURL(), steadyState); err != nil {
			return nil, err
		}
		select {
		case <-m.RebootAsked():
			times = append(times, time.Since(began).Seconds()*1000)
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is never rebooted: %w", next.ID, context.Cause(ctx))
		}
		if err := fleet.Until(ctx, 20*time.Millisecond, next.ID+" to be back", func(context.Context) error {
			if now := next.Machine(); now == nil || now == m {
				return errors.New("it is not")
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if err := settle(ctx, f); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// waits: a node's agent says that it waits for the lock to reboot.
func waits(ctx context.Context, h *hosts.Host) error {
	data, err := h.Get(ctx, h.StatusURL())
	if err != nil {
		return err
	}
	s, err := peer.Decode(data)
	if err != nil {
		return err
	}
	if got := s.Reason(string(policy.ConcernReboot)); got != string(policy.AwaitLock) {
		return fmt.Errorf("it says %s", got)
	}
	return nil
}

// FleetLock's two questions.
const (
	preReboot   = "v1/pre-reboot"
	steadyState = "v1/steady-state"
)

// refusal is an answer that is no grant.
type refusal struct{ path, status, why string }

func (r *refusal) Error() string { return fmt.Sprintf("%s: %s %s", r.path, r.status, r.why) }

// ask asks one of FleetLock's questions below an URL.
func ask(ctx context.Context, url, path string) error {
	body := strings.NewReader(`{"client_params":{"id":"978a225b3d7b40e9acd7ce9b62f68444","group":"workers"}}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("fleet-lock-protocol", "true")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what came says enough
		return &refusal{path, resp.Status, string(why)}
	}
	return nil
}

// asPairs gives the times of pairs asked below an URL, and of a bare put and delete through a
// member, by turns.
func asPairs(ctx context.Context, url, member string) (pair, bare []float64, err error) {
	client, err := hosts.Client(member)
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	for range pairs {
		began := time.Now()
		if err := ask(ctx, url, preReboot); err != nil {
			return nil, nil, err
		}
		if err := ask(ctx, url, steadyState); err != nil {
			return nil, nil, err
		}
		asked := time.Now()
		if _, err := client.Put(ctx, "bench/bare", "x"); err != nil {
			return nil, nil, err
		}
		if _, err := client.Delete(ctx, "bench/bare"); err != nil {
			return nil, nil, err
		}
		pair = append(pair, asked.Sub(began).Seconds()*1000)
		bare = append(bare, time.Since(asked).Seconds()*1000)
	}
	return pair, bare, nil
}

// direct answers FleetLock's questions by the lock alone.
type direct struct{ *node }

func (d direct) PreReboot(ctx context.Context, c fleetlock.Client) (fleetlock.Outcome, error) {
	err := d.TakeSlot(ctx, policy.Take{
		Reason: policy.HoldFleetLock, Phase: policy.Acting, Cluster: d.cluster, Client: c.ID, Turn: d.Seen().Turn,
	})
	return fleetlock.Outcome{OK: err == nil}, err
}

func (d direct) SteadyState(ctx context.Context, _ fleetlock.Client) (fleetlock.Outcome, error) {
	err := d.ReleaseHold(ctx, 0, d.own())
	return fleetlock.Outcome{OK: err == nil}, err
}
