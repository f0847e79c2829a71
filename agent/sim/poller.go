package sim

import (
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// How often the loop observes (package agent, observe.go).
const (
	closely = 500 * time.Millisecond
	rest    = 5 * time.Second
)

// poller is the schedule of one observer. Polls that would read what the last
// one read are not events: at is moved along the schedule when a pass asks.
type poller struct {
	every time.Duration // 0: not polled
	at    time.Duration // the last poll began; later ones follow by every
	ever  bool
	// next is scheduled as a real event; its generation makes an older one void.
	next  bool
	gen   int
	busy  bool // a poll is under way
	dirty bool // and something changed since it began
	force bool // the next landing causes a pass even when nothing changed
}

// setPace changes how often a source is polled; faster takes effect at once.
func (a *agent) setPace(s policy.Source, every time.Duration) {
	p := &a.polls[s]
	if p.every == every {
		return
	}
	was := p.every
	a.advanceOne(s)
	p.every = every
	if was == 0 {
		p.ever = false // what changed meanwhile was not polled: what is known keeps its age
	}
	if every != 0 && (was == 0 || every < was) {
		a.kick(s)
	} else if p.next {
		a.schedule(s)
	}
}

// kick polls at once.
func (a *agent) kick(s policy.Source) {
	p := &a.polls[s]
	switch {
	case p.every == 0:
		return
	case p.busy:
		p.dirty, p.force = true, true
		return
	}
	a.advanceOne(s)
	p.force, p.next = true, true
	p.gen++
	gen := p.gen
	a.w.after(0, func() { a.poll(s, gen) })
}

// touch: what a source reads may have changed.
func (a *agent) touch(s policy.Source) {
	p := &a.polls[s]
	switch {
	case p.every == 0 || p.next:
	case p.busy:
		p.dirty = true
	default:
		a.advanceOne(s)
		a.schedule(s)
	}
}

// want: a decision waits for a newer observation.
func (a *agent) want(s policy.Source) {
	a.polls[s].force = true
	a.touch(s)
}

// schedule makes the next poll of the schedule a real one.
func (a *agent) schedule(s policy.Source) {
	p := &a.polls[s]
	p.next = true
	p.gen++
	gen := p.gen
	a.w.at(max(p.at+p.every, a.w.now), func() { a.poll(s, gen) })
}

// advanceOne moves a resting observer along its schedule.
func (a *agent) advanceOne(s policy.Source) {
	p := &a.polls[s]
	if p.every == 0 || p.next || p.busy || !p.ever {
		return
	}
	if n := (a.w.now - p.at) / p.every; n > 0 {
		p.at += n * p.every
		a.stamp(s)
	}
}

// advance does so for all, before a pass.
func (a *agent) advance() {
	for s := range policy.NumSources {
		a.advanceOne(s)
	}
}

// renews reports whether a source's facts will be observed again before e.
func (a *agent) renews(s policy.Source, e time.Time) bool {
	p := &a.polls[s]
	if p.every == 0 || p.busy {
		return false
	}
	return !a.local(p.at + p.every).After(e)
}

// local is an instant on the machine's clock.
func (a *agent) local(t time.Duration) time.Time { return epoch.Add(t + a.m.skew) }

// poll begins an observation: what is read is the world of this instant, and it
// lands after the call's latency.
func (a *agent) poll(s policy.Source, gen int) {
	p := &a.polls[s]
	if !a.alive || p.gen != gen || p.every == 0 {
		return
	}
	p.next, p.busy, p.dirty = false, true, false
	p.at, p.ever = a.w.now, true
	land := a.observe(s)
	done := func() {
		if !a.alive {
			return
		}
		p.busy = false
		changed := land()
		if s == policy.SourcePulse {
			a.setPace(s, a.pulsePace())
		}
		if changed || p.force {
			p.force = p.dirty && p.force
			a.poke()
		}
		if p.dirty || a.flaky(s) {
			a.schedule(s)
		}
	}
	if lat := a.latency(s); lat > 0 {
		a.w.after(lat, done)
	} else {
		done()
	}
}

// latency is how long an observation takes.
func (a *agent) latency(s policy.Source) time.Duration {
	switch {
	case s == policy.SourceUnit || s == policy.SourceData || s == policy.SourcePulse:
		return 0
	case a.m.slow && !a.w.calm:
		return a.w.between(10*time.Millisecond, 2*time.Second)
	case a.w.plan.latency:
		return a.w.between(time.Millisecond, 100*time.Millisecond)
	}
	return 0
}

// flaky: the next poll may give something else although nothing changed.
func (a *agent) flaky(s policy.Source) bool {
	return a.w.throttled && (s == policy.SourceGroup || s == policy.SourceInstances)
}

// stamp writes the instant of the last poll into a source's known facts.
func (a *agent) stamp(s policy.Source) {
	at := a.local(a.polls[s].at)
	v := &a.view
	switch s {
	case policy.SourceGroup:
		restamp(&v.Group, at)
	case policy.SourceUnit:
		restamp(&v.Unit, at)
	case policy.SourcePulse:
		restamp(&v.Pulse, at)
	case policy.SourceData:
		restamp(&v.Data, at)
	case policy.SourceMembers:
		restamp(&v.Members, at)
	case policy.SourceLock:
		restamp(&v.Lock, at)
	case policy.SourceTarget:
		restamp(&v.Lifecycle, at)
	case policy.SourceSpot:
		restamp(&v.Spot, at)
	case policy.SourceInstances:
		restamp(&v.Instances, at)
	case policy.SourceVersions:
		restamp(&v.EtcdVersion, at)
		restamp(&v.ClusterVersion, at)
	case policy.SourceLogin:
		restamp(&v.Login, at)
	case policy.SourceDown:
		restamp(&v.Down, at)
	case policy.SourceWants:
		for s, f := range v.Wants {
			restamp(&f, at)
			v.Wants[s] = f
		}
	case policy.SourceHealth:
		for id, f := range v.Health {
			if f.Known() {
				f.At = at
				v.Health[id] = f
			}
		}
	case policy.SourcePeers:
		for id, f := range v.Peers {
			if f.Known() {
				f.At = at
				v.Peers[id] = f
			}
		}
	}
}

func restamp[T any](f *policy.Fact[T], at time.Time) {
	if f.Known() {
		f.At = at
	}
}
