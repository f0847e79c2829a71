package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// Options choose one run.
type Options struct {
	Seed uint64
	// Length is how much virtual time faults go on; the world then gets Quiet to
	// come to rest. Zero: a day in all.
	Length, Quiet time.Duration
	// Variant breaks the policy; nil leaves it intact.
	Variant *Variant
	// Full keeps the whole transcript, not only its end.
	Full bool
	// plan is used in place of the one that the seed draws.
	plan *plan
	// Audit checks every n-th pass of Next itself; 0: every 97th.
	Audit int
}

// Result is what a run gave.
type Result struct {
	Seed       uint64
	Violations []Violation
	// Transcript is the end of the run, or, with Options.Full, all of it.
	Transcript []string
	// Reasons are those that some concern gave.
	Reasons map[policy.Reason]bool
	// Passes and Actions count over all agents.
	Passes, Actions int
	// Formed: a cluster was started. Lost: its majority is lost for good. Renewed:
	// another one was started, because an operator wished it.
	Formed, Lost, Renewed bool
}

// Run simulates one seed.
func Run(o Options) Result {
	if o.Length == 0 {
		o.Length, o.Quiet = 18*time.Hour, 6*time.Hour
	}
	if o.Audit == 0 {
		o.Audit = 97
	}
	w := newWorld(o)
	w.scenario()
	w.run(o.Length + o.Quiet)
	return w.result()
}

// world is everything there is.
type world struct {
	opt   Options
	rng   *rand.Rand
	now   time.Duration
	queue queue
	cfg   policy.Config
	plan  plan
	etcds versions

	group    *group
	machines []*machine // in the order of launch
	clusters []*cluster // in the order of forming

	check   *Checker
	lines   []line // the transcript: a ring, unless everything is kept
	next    int
	reasons map[policy.Reason]bool
	passes  int
	actions int
	calmAct int  // actions since the faults stopped
	calm    bool // no more faults
	stop    bool // enough is known

	// drive runs another loop in place of the model's, on the model's machine, and
	// gives what ends it; nil: none.
	drive func(*agent) (halt func())

	reboots int // in order

	awsDown, throttled bool
	awsBad             time.Duration // when AWS last did not answer as it should
}

// line is one line of the transcript, put into words only when somebody reads it.
type line struct {
	at   time.Duration
	who  policy.InstanceID
	what string
	args []any
}

const keptLines = 400

func newWorld(o Options) *world {
	w := &world{
		opt:     o,
		rng:     rand.New(rand.NewPCG(o.Seed, 0x71756f72756d64)),
		cfg:     policy.DefaultConfig(),
		reasons: make(map[policy.Reason]bool),
	}
	w.etcds = newVersions(o.Seed)
	w.check = NewChecker(w.cfg)
	w.plan = w.drawPlan()
	if o.plan != nil {
		w.plan = *o.plan
		w.etcds.change = false
	}
	w.cfg.Reboot = w.plan.reboot
	w.check.cfg = w.cfg
	w.group = newGroup(w)
	return w
}

// epoch is the instant 0 of virtual time on a clock that is right.
var epoch = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// at does something at an instant, after does it a while from now.
func (w *world) at(t time.Duration, f func()) { w.queue.push(max(t, w.now), f) }

func (w *world) after(d time.Duration, f func()) { w.at(w.now+d, f) }

// run lets the world go on until an instant, or until something is broken.
func (w *world) run(until time.Duration) {
	for n := 0; len(w.queue.heap) > 0 && !w.stop; n++ {
		if w.queue.heap[0].at > until {
			break
		}
		e := w.queue.pop()
		w.now = e.at
		e.run()
		if len(w.check.broken) > 0 {
			return
		}
		if n > 500_000 || n > 60_000 && w.opt.Variant != nil {
			w.check.fail(w.now, FewActions, "the world does not come to rest")
			return
		}
	}
	w.now = until
	w.judge()
}

// tell feeds the checker.
func (w *world) tell(e Event) { w.check.Observe(w.now, e) }

// say adds a line to the transcript.
func (w *world) say(who policy.InstanceID, what string, args ...any) {
	l := line{w.now, who, what, args}
	if w.opt.Full || len(w.lines) < keptLines {
		w.lines = append(w.lines, l)
		return
	}
	w.lines[w.next%keptLines] = l
	w.next++
}

func (l line) String() string {
	return fmt.Sprintf("%12s %-4s %s", l.at.Round(time.Millisecond), l.who, fmt.Sprintf(l.what, l.args...))
}

func (w *world) result() Result {
	r := Result{
		Seed: w.opt.Seed, Violations: w.check.Violations(), Reasons: w.reasons,
		Passes: w.passes, Actions: w.actions, Formed: len(w.clusters) > 0, Lost: w.lost() != "",
		Renewed: len(w.clusters) > 1,
	}
	if len(r.Violations) > 0 || w.opt.Full {
		start := 0
		if !w.opt.Full && len(w.lines) == keptLines {
			start = w.next
		}
		for i := range w.lines {
			r.Transcript = append(r.Transcript, w.lines[(start+i)%len(w.lines)].String())
		}
	}
	return r
}

// Randomness.

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between draws a duration, evenly.
func (w *world) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)))
}

func pick[T any](w *world, of ...T) T { return of[w.rng.IntN(len(of))] }

// Finding things.

func (w *world) machine(id policy.InstanceID) *machine {
	i := slices.IndexFunc(w.machines, func(m *machine) bool { return m.id == id })
	if i < 0 {
		return nil
	}
	return w.machines[i]
}

// current is the cluster that was formed last, nil while there is none.
func (w *world) current() *cluster {
	if len(w.clusters) == 0 {
		return nil
	}
	return w.clusters[len(w.clusters)-1]
}

// alive are the machines that EC2 has not terminated, switched on or not.
func (w *world) alive() []*machine {
	var out []*machine
	for _, m := range w.machines {
		if m.state == policy.InstanceRunning || m.state == policy.InstancePending {
			out = append(out, m)
		}
	}
	return out
}

// touch tells every agent's observer of a source that something may have changed.
func (w *world) touch(sources ...policy.Source) {
	for _, m := range w.machines {
		if m.agent == nil {
			continue
		}
		for _, s := range sources {
			m.agent.touch(s)
		}
	}
}

// touchEtcd is for a change that may be seen in everything read from etcd.
func (w *world) touchEtcd() {
	w.touch(policy.SourceMembers, policy.SourceHealth, policy.SourcePulse, policy.SourceLock, policy.SourceVersions)
}
