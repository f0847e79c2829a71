package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/quorumd/quorumd/agent/policy"
)

// Options are the loop's own settings.
type Options struct {
	Self   policy.Self
	Policy policy.Config
	// Poll is how often instance metadata is read.
	Poll time.Duration
	// Endpoints are client URLs to use instead of those found; usually none.
	Endpoints []string
	// ClientURL gives the client URL of a member on a host.
	ClientURL func(host string) string
	// Watchdog is how often the service manager wants to hear of us; 0: never.
	Watchdog time.Duration
	// Record is what was read from disk at start.
	Record policy.Record
	Log    *slog.Logger
	// Metrics registers the agent's metrics; nil: a registry of its own.
	Metrics prometheus.Registerer
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Pass is what one pass saw and decided; it is never changed once published.
type Pass struct {
	Seq      uint64
	At       time.Time
	View     policy.View
	Decision policy.Decision
}

// Agent is one node's loop. Make it with New, and call Run once.
type Agent struct {
	opts    Options
	parts   Parts
	board   *board
	sources map[string]*observer
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time

	published atomic.Pointer[Pass]
	shown     atomic.Pointer[shownLock]

	askMu  sync.Mutex
	askEC2 []policy.InstanceID // which instances to ask EC2 about
	// AWS's failures in a row, and when it is asked again.
	awsFailures int
	awsAgain    time.Time

	ended   chan ended // of the action under way; capacity 1
	duties  duties
	pulses  pulses // the pulse observer's own
	waiting requests
	status  *spaced // tells systemd

	// Of the loop's own goroutine only.
	state  policy.State
	seq    uint64
	said   map[policy.Concern]policy.Reason
	warned map[string]string
}

// shownLock is the lock's revision in the newest look at it that an action's own
// transaction had, and when that had ended.
type shownLock struct {
	revision int64
	ended    time.Time
}

// New makes an agent.
func New(opts Options, parts Parts) *Agent {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics == nil {
		opts.Metrics = prometheus.NewRegistry()
	}
	if opts.Poll <= 0 {
		opts.Poll = time.Second
	}
	a := &Agent{
		opts: opts, parts: parts, log: opts.Log, now: opts.Now,
		sources: make(map[string]*observer),
		metrics: newMetrics(opts.Metrics, opts.Policy.LockGroup),
		ended:   make(chan ended, 1),
		said:    make(map[policy.Concern]policy.Reason),
	}
	a.board = newBoard(policy.View{Started: opts.Now(), Self: opts.Self, Record: opts.Record}, opts.Log)
	for s := range parts.Wants {
		// Not known yet, which is not the same as not asked: what a reboot was for is
		// forgotten only when its source is content.
		a.board.view.Wants[s] = policy.Fact[policy.Want]{}
	}
	a.waiting.init()
	a.status = seldom(statusSpacing, a.showStatus)
	a.observers()
	return a
}

// Published gives the newest pass; nil before the first.
func (a *Agent) Published() *Pass { return a.published.Load() }

// Run observes, decides and acts until its context ends. An action under way then is
// given a moment to end: what it did is observed anew at the next start.
func (a *Agent) Run(until context.Context) error {
	ctx, stop := context.WithCancelCause(context.WithoutCancel(until))
	defer context.AfterFunc(until, func() { stop(policy.ErrAgentStops) })()
	g, ctx := errgroup.WithContext(ctx)
	for _, o := range a.sources {
		g.Go(func() error { o.run(ctx); return nil })
	}
	g.Go(func() error {
		if err := a.observeUnit(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch etcd's unit: %w", err)
		}
		return nil
	})
	g.Go(func() error { a.watchCluster(ctx); return nil })
	for s, w := range a.parts.Wants {
		g.Go(func() error { a.observeWant(ctx, s, w); return nil })
	}
	if a.parts.Machine != nil {
		g.Go(func() error { a.watchLogin(ctx); return nil })
	}
	g.Go(func() error { return a.loop(ctx) })
	err := g.Wait()
	a.duties.stopAll()
	a.status.stop()
	return err
}

// loop runs a pass whenever something changed, at the instant the last decision
// named, and often enough for the watchdog.
func (a *Agent) loop(ctx context.Context) error {
	defer a.awaitAction()
	timer := time.NewTimer(0)
	defer timer.Stop()
	ready := false
	var fed time.Time // when the watchdog was last
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.board.poke:
		case <-timer.C:
		case e := <-a.ended:
			a.finish(e)
		}
		a.board.heed()
		next := a.pass(ctx)
		if !ready {
			ready = true
			a.notify("ready", a.parts.Notify.Ready())
		}
		// Passes may follow each other by the millisecond; longest sees to it that one comes
		// within half the watchdog's time.
		if now := a.now(); a.opts.Watchdog > 0 && now.Sub(fed) >= a.opts.Watchdog/4 {
			a.notify("watchdog", a.parts.Notify.Watchdog())
			fed = now
		}
		timer.Reset(max(0, min(a.longest(), next.Sub(a.now()))))
	}
}

// longest is how long the loop may sleep at the most.
func (a *Agent) longest() time.Duration {
	if a.opts.Watchdog > 0 {
		return min(10*time.Second, a.opts.Watchdog/2)
	}
	return 10 * time.Second
}

func (a *Agent) notify(what string, err error) {
	if err != nil {
		a.log.Warn("cannot notify the service manager", "what", what, "error", err)
	}
}

// pass decides once, and gives the instant of the next look at the same facts.
func (a *Agent) pass(ctx context.Context) time.Time {
	began := a.now()
	v := a.board.snapshot()
	v.Now = began
	state, d := policy.Next(a.opts.Policy, a.state, v)
	a.state = state
	a.seq++
	if d.Action != nil {
		v.InFlight = &policy.InFlight{Action: d.Action, Started: began}
	}
	// What is to be done is published before it is done.
	p := &Pass{Seq: a.seq, At: began, View: v, Decision: d}
	a.published.Store(p)
	changed := a.say(p)
	took := a.now().Sub(began)
	if d.Action != nil {
		a.begin(ctx, d)
	}
	if changed {
		a.status.now()
	}
	a.metrics.pass(p, took)
	a.metrics.election.pass(p, state.Vote)
	a.apply(ctx, d.Duties)
	a.hasten(v, d)
	if d.Action == nil {
		a.keepEndpoints(v)
	}
	next := began.Add(time.Hour)
	for _, t := range [...]time.Time{d.Recheck, d.Stale} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// say logs every concern whose reason changed, and reports whether one did.
func (a *Agent) say(p *Pass) (changed bool) {
	a.warn(p.Decision.Warnings)
	for _, c := range policy.Concerns() {
		ver := p.Decision.Verdicts[c]
		if a.said[c] == ver.Reason {
			continue
		}
		a.said[c] = ver.Reason
		level := slog.LevelInfo
		if ver.Reason == policy.Settling || ver.Reason == policy.Busy || ver.Reason == policy.Idle {
			level = slog.LevelDebug
		} else {
			changed = true
		}
		a.log.Log(context.Background(), level, "decided", "concern", c, "reason", ver.Reason, "detail", ver.Detail, "seq", p.Seq)
	}
	return changed
}

// showStatus tells systemd the gist of the newest pass.
func (a *Agent) showStatus() {
	v := a.Published().Decision.Verdicts
	a.notify("status", a.parts.Notify.Status(fmt.Sprintf("leave: %s; steward: %s; join: %s; reboot: %s",
		v[policy.ConcernLeave].Reason, v[policy.ConcernSteward].Reason, v[policy.ConcernJoin].Reason, v[policy.ConcernReboot].Reason)))
}

// warn logs each warning when it appears and when it is gone.
func (a *Agent) warn(ws []policy.Warning) {
	now := make(map[string]string, len(ws))
	for _, w := range ws {
		now[w.Name] = w.Detail
		if _, ok := a.warned[w.Name]; !ok {
			a.log.Warn("warning", "warning", w.Name, "detail", w.Detail)
		}
	}
	for name := range a.warned {
		if _, ok := now[name]; !ok {
			a.log.Info("warning is over", "warning", name)
		}
	}
	a.warned = now
}

// keepEndpoints writes the members' client URLs and who votes down when they changed, so
// that a node finds the cluster again when etcd and AWS are both away, and knows whose
// word counts.
func (a *Agent) keepEndpoints(v policy.View) {
	if !v.Members.Known() || v.InFlight != nil || v.Record.Instance != v.Self.Instance ||
		v.Record.Cluster != v.Members.Value.Cluster {
		return
	}
	var urls []string
	for _, m := range v.Members.Value.Members {
		urls = append(urls, m.ClientURLs...)
	}
	voters := policy.VotersOf(v.Members.Value)
	if len(urls) == 0 || slices.Equal(urls, v.Record.Endpoints) && slices.Equal(voters, v.Record.Voters) {
		return
	}
	r := v.Record
	r.Endpoints, r.Voters = urls, voters
	if err := a.parts.Disk.Save(r); err != nil {
		a.log.Debug("cannot write the record", "error", err)
		return
	}
	a.board.change(func(v *policy.View) { v.Record.Endpoints, v.Record.Voters = urls, voters })
}
