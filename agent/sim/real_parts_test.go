package sim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	real "github.com/quorumd/quorumd/agent"
	"github.com/quorumd/quorumd/agent/policy"
)

// parts is the simulator's world as one real agent meets it. The model of the
// agent that stands on the machine does the observing and the acting for it, but
// decides nothing.
type parts struct {
	s    *stage
	a    *agent
	loop *real.Agent
	// The action under way: why, and when it was decided.
	reason policy.Reason
	began  time.Duration
	seen   policy.Lock // by the last action
}

// Every call takes a few milliseconds, some before its effect and some after it.
const before, after = 3 * time.Millisecond, 2 * time.Millisecond

// call does something in the world, if the machine is still on.
func (p *parts) call(ctx context.Context, f func() error) error {
	if err := pause(ctx, before); err != nil {
		return err
	}
	var err error
	p.s.do(func() {
		if !p.a.alive {
			err = errOff
			return
		}
		err = f()
	})
	if late := pause(ctx, after); late != nil {
		return late
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// see has the model observe one source, and gives the fact that it leads to.
func see[T any](ctx context.Context, p *parts, s policy.Source, f func(*policy.View) policy.Fact[T]) (T, error) {
	var fact policy.Fact[T]
	err := p.call(ctx, func() error {
		p.a.observe(s)()
		if fact = f(&p.a.view); fact.Err != "" {
			return errors.New(fact.Err)
		}
		return nil
	})
	return fact.Value, err
}

// act has the model do an action to the world.
func (p *parts) act(ctx context.Context, a policy.Action) error {
	return p.call(ctx, func() error {
		err := p.a.effect(a, p.reason, p.began)
		if _, c := p.a.server(0); c != nil {
			p.seen = c.readLock()
		}
		return err
	})
}

func (p *parts) Target(ctx context.Context) (policy.Target, error) {
	return see(ctx, p, policy.SourceTarget, func(v *policy.View) policy.Fact[policy.Target] { return v.Lifecycle })
}

func (p *parts) Spot(ctx context.Context) (policy.Notice, error) {
	return see(ctx, p, policy.SourceSpot, func(v *policy.View) policy.Fact[policy.Notice] { return v.Spot })
}

func (p *parts) Group(ctx context.Context) (policy.Group, error) {
	return see(ctx, p, policy.SourceGroup, func(v *policy.View) policy.Fact[policy.Group] { return v.Group })
}

func (p *parts) Instances(ctx context.Context, ids []policy.InstanceID) (map[policy.InstanceID]policy.Instance, error) {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	p.s.do(func() { p.a.watched = strings.Join(words, ",") })
	return see(ctx, p, policy.SourceInstances, func(v *policy.View) policy.Fact[map[policy.InstanceID]policy.Instance] { return v.Instances })
}

func (p *parts) Heartbeat(ctx context.Context, _ string) error {
	return p.call(ctx, func() error { return p.s.w.group.heartbeat(p.a.m) })
}

func (p *parts) Complete(ctx context.Context, hook string, r policy.HookResult) error {
	return p.act(ctx, policy.CompleteHook{Hook: hook, Result: r})
}

func (p *parts) WriteTag(ctx context.Context, _ string) error {
	// The model's action holds the id as a number, and the words of it are the tag.
	var id policy.ClusterID
	p.s.do(func() { id = p.a.m.disk.record.Cluster })
	return p.act(ctx, policy.WriteTag{Cluster: id})
}

func (p *parts) DeleteTag(ctx context.Context, value string) error {
	return p.act(ctx, policy.DeleteTag{Value: value})
}

// SetEndpoints is what the model finds members by.
func (p *parts) SetEndpoints(urls []string) {
	p.s.do(func() { p.a.view.Record.Endpoints = slices.Clone(urls) })
}

func (p *parts) Members(ctx context.Context) (policy.MemberList, error) {
	return see(ctx, p, policy.SourceMembers, func(v *policy.View) policy.Fact[policy.MemberList] { return v.Members })
}

// Watch tells nothing: polling is what decisions rest on, and must suffice.
func (p *parts) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return ctx.Err()
}

func (p *parts) Version(ctx context.Context) (string, error) {
	return see(ctx, p, policy.SourceVersions, func(v *policy.View) policy.Fact[string] { return v.EtcdVersion })
}

func (p *parts) ClusterVersion(ctx context.Context, _ []string) (string, error) {
	return see(ctx, p, policy.SourceVersions, func(v *policy.View) policy.Fact[string] { return v.ClusterVersion })
}

func (p *parts) Pulse(ctx context.Context) policy.Pulse {
	pulse, err := see(ctx, p, policy.SourcePulse, func(v *policy.View) policy.Fact[policy.Pulse] { return v.Pulse })
	if err != nil {
		return policy.Pulse{}
	}
	return pulse
}

func (p *parts) Snapshot(ctx context.Context) (string, error) {
	return "/snapshot", p.act(ctx, policy.SaveSnapshot{})
}

func (p *parts) Probe(ctx context.Context, url string) (h policy.Health, err error) {
	err = p.call(ctx, func() (err error) { h, err = p.a.probeURL(url); return err })
	return h, err
}

func (p *parts) AddLearner(ctx context.Context, id policy.InstanceID, url string) (member policy.MemberID, err error) {
	err = p.act(ctx, policy.AddLearner{Instance: id, PeerURL: url})
	p.s.do(func() {
		if m := p.s.w.current().byURL(url); m != nil {
			member = m.id
		}
	})
	return member, err
}

func (p *parts) Promote(ctx context.Context, id policy.MemberID) error {
	return p.act(ctx, policy.Promote{Member: id})
}

func (p *parts) Remove(ctx context.Context, id policy.MemberID, whose policy.InstanceID, _ bool) error {
	return p.act(ctx, policy.RemoveMember{Member: id, Instance: whose})
}

func (p *parts) MoveLeader(ctx context.Context, to policy.MemberID) error {
	return p.act(ctx, policy.MoveLeader{To: to})
}

func (p *parts) Lock(ctx context.Context) (policy.Lock, error) {
	return see(ctx, p, policy.SourceLock, func(v *policy.View) policy.Fact[policy.Lock] { return v.Lock })
}

func (p *parts) TakeSlot(ctx context.Context, t policy.Take) error {
	return p.act(ctx, policy.TakeSlot{Take: t})
}

func (p *parts) MarkActing(ctx context.Context, revision int64) error {
	return p.act(ctx, policy.MarkActing{Revision: revision})
}

func (p *parts) ReleaseHold(ctx context.Context, slot int, revision int64) error {
	return p.act(ctx, policy.ReleaseHold{Slot: slot, Revision: revision})
}

func (p *parts) Seen() (l policy.Lock) {
	p.s.do(func() { l = p.seen })
	return l
}

func (p *parts) KeepQueued(ctx context.Context, why policy.KeepQueued, _ func()) error {
	var c *cluster
	err := p.call(ctx, func() error {
		if _, c = p.a.server(0); c == nil {
			return errNoServer
		}
		c.enqueue(p.a.m.id, p.a.m.bootID(), why)
		return nil
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); errors.Is(cause, policy.ErrHandedOn) || errors.Is(cause, policy.ErrAgentStops) && !why.Leaves() {
		return nil
	}
	p.s.do(func() { c.dequeue(p.a.m.id, why.Leaves(), -1) })
	return ctx.Err()
}

// Start begins what the unit's start begins; it does not wait.
func (p *parts) Start(ctx context.Context, how policy.StartEtcd) error { return p.act(ctx, how) }
func (p *parts) Stop(ctx context.Context) error                        { return p.act(ctx, policy.StopEtcd{}) }

// unitStates is the machine's unit: its Watch is another than the cluster's.
type unitStates struct{ p *parts }

func (u unitStates) State(ctx context.Context) (policy.Unit, error) {
	return see(ctx, u.p, policy.SourceUnit, func(v *policy.View) policy.Fact[policy.Unit] { return v.Unit })
}

func (u unitStates) Watch(ctx context.Context, report func(policy.Unit, error)) error {
	var last policy.Unit
	for {
		if is, err := u.State(ctx); err == nil && is != last {
			last = is
			report(is, nil)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (p *parts) Data() (policy.Data, error) {
	return see(p.s.ctx, p, policy.SourceData, func(v *policy.View) policy.Fact[policy.Data] { return v.Data })
}

func (p *parts) Archive(why string) (string, error) {
	return "/archive", p.act(p.s.ctx, policy.ArchiveData{Why: why})
}

func (p *parts) Save(r policy.Record) error {
	return p.act(p.s.ctx, policy.WriteRecord{Record: r})
}

func (p *parts) Peer(ctx context.Context, host string) (is policy.Peer, err error) {
	err = p.call(ctx, func() error {
		for _, o := range p.s.w.machines {
			if o.address() == host && p.a.m.reaches(o) && o.agent != nil {
				is = o.publish()
				return nil
			}
		}
		return errSilent
	})
	return is, err
}

func (p *parts) Login(ctx context.Context) (policy.Login, error) {
	return see(ctx, p, policy.SourceLogin, func(v *policy.View) policy.Fact[policy.Login] { return v.Login })
}

func (p *parts) WatchLogin(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }
func (p *parts) Reboot(ctx context.Context) error               { return p.act(ctx, policy.Reboot{}) }

func (p *parts) Down(ctx context.Context) ([]string, error) {
	return see(ctx, p, policy.SourceDown, func(v *policy.View) policy.Fact[[]string] { return v.Down })
}

func (p *parts) Run(ctx context.Context, _ policy.ScriptsWhen) error {
	return p.call(ctx, func() error { return nil })
}

func (p *parts) Any(policy.ScriptsWhen) bool { return p.a.w.plan.scripts }

// want looks at one source of the machine every second.
func (p *parts) want(s policy.WantSource) real.WantFunc {
	return func(ctx context.Context, report func(policy.Want, error)) error {
		for {
			var w policy.Want
			err := p.call(ctx, func() error { w = p.a.m.wants()[s]; return nil })
			report(w, err)
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
		}
	}
}

// ask is a request to the real loop, of the machine's FleetLock client.
func (p *parts) ask(r policy.Request, then func(policy.AnswerRequest, bool)) {
	p.s.wg.Go(func() {
		question := p.loop.PreReboot
		if r.Kind == policy.SteadyState {
			question = p.loop.SteadyState
		}
		ans, err := question(p.s.ctx, r.Client, r.Group)
		p.s.do(func() { then(ans, err == nil) })
	})
}

func (p *parts) Ready() error        { return nil }
func (p *parts) Watchdog() error     { return nil }
func (p *parts) Status(string) error { return nil }
