package policy

import (
	"slices"
	"strings"
	"time"
)

// How long things about reboots last.
const (
	// placeKept is how long a place in the queue is kept for a client or an operator
	// after they last asked; Zincati asks every few minutes.
	placeKept = 15 * time.Minute
	// grantKept is how long a slot that came to the head for them is kept granted.
	grantKept = 10 * time.Minute
	// scriptsAgain is the pause after a script failed before a reboot.
	scriptsAgain = 10 * time.Minute
	// rebootWithin is how long a machine may take to go down once logind accepted;
	// systemd gives every unit 90 s to stop.
	rebootWithin = 5 * time.Minute
	// steadyWithin is how long a FleetLock client that came back healthy may take to
	// say so before its hold ends without its word.
	steadyWithin = 5 * time.Minute
	// eventLead is how long before EC2 reboots the machine a window is not waited for
	// any more: it will be rebooted anyway, and better in its turn.
	eventLead = 2 * time.Hour
	// rebootWatch is how often the group is read while somebody wants a reboot.
	rebootWatch = 5 * time.Second
)

// Ask is what somebody beside this agent wants the lock for. An agent that restarts knows
// of a FleetLock client from its place in the queue; an operator is there to ask again.
type Ask struct {
	// Reason is HoldFleetLock or HoldOperator.
	Reason      HoldReason
	Client, Why string
	// Scripts: see Request.
	Scripts bool
	// Asked is when they last asked.
	Asked time.Time
}

// take is a claim to a slot for this node.
func (p *pass) take(why HoldReason, phase HoldPhase) Take {
	t := Take{Reason: why, Phase: phase, Member: p.own, Cluster: p.list.Cluster, Turn: p.v.Lock.Value.Turn}
	if h, ok := p.ownHold(); ok {
		t.Revision, t.Client, t.Why = h.Revision, h.Client, h.Why
	}
	return t
}

// trackLock notes since when nobody else can have begun to disrupt anything: since
// the lock was first seen without another's hold, with nobody but this node taking
// a slot after that. Who is about to disrupt in the same transaction that takes
// the slot must have looked at the members since then.
func (p *pass) trackLock() {
	f := p.v.Lock
	if !f.Known() {
		return
	}
	l := f.Value
	if slices.ContainsFunc(l.Holders, func(h Hold) bool { return h.Instance != p.v.Self.Instance }) {
		p.next.ClearSince = time.Time{}
		return
	}
	_, held := p.ownHold()
	if p.next.ClearSince.IsZero() || l.Turn != p.next.ClearTurn && !held {
		p.next.ClearSince = p.now
	}
	p.next.ClearTurn = l.Turn
}

// wish is why this node is to be rebooted by its own agent.
type wish struct {
	order   bool // an operator's: no window and no user is waited for
	why     string
	due     time.Time
	sources []string // see Rebooted.For
}

// sourceOrder is the order in which sources are looked at.
var sourceOrder = [...]WantSource{WantScheduled, WantUpdateEngine, WantRebootRequired, WantSentinel}

// wanted tells what a reboot is wanted for; without a wish, why there is none.
func (p *pass) wishes() (wish, Verdict) {
	var w wish
	none := Verdict{Reason: RebootNotWanted}
	rec := p.record()
	for _, s := range sourceOrder {
		f, ok := p.v.Wants[s]
		switch {
		case !ok:
			continue
		case !f.Known():
			if none.Reason == RebootNotWanted && f.Err != "" {
				none = Verdict{Reason: WantUnknown, Detail: string(s) + ": " + f.Err}
			}
			continue
		case !f.Value.Wanted:
			continue
		case p.cfg.Reboot.Strategy == StrategyOff:
			none = Verdict{Reason: RebootOff, Detail: string(s) + ": " + f.Value.Why}
			continue
		case rec.Rebooted != nil && rec.Rebooted.Boot != p.v.Self.Boot && slices.Contains(rec.Rebooted.For, wantKey(s, f.Value)):
			none = Verdict{Reason: RebootInVain, Detail: string(s) + ": " + f.Value.Why}
			continue
		}
		w.sources = append(w.sources, wantKey(s, f.Value))
		w.due = earlier(w.due, f.Value.Due)
		if w.why == "" {
			w.why = strings.TrimSuffix(string(s)+": "+f.Value.Why, ": ")
		}
	}
	if o := rec.Reboot; o != nil && o.Boot == p.v.Self.Boot {
		w.order, w.why = true, strings.TrimSuffix("an operator: "+o.Why, ": ")
	}
	return w, none
}

func wantKey(s WantSource, w Want) string {
	if w.ID == "" {
		return string(s)
	}
	return string(s) + "/" + w.ID
}

func (w wish) exists() bool { return w.order || len(w.sources) > 0 }

// reboot restarts the machine when somebody wants it, one node at a time, and keeps
// the slot until the machine is back and healthy.
func reboot(p *pass) Verdict {
	if ver, ok := p.noteReboots(); ok {
		return ver
	}
	if h, ok := p.ownHold(); ok && h.Reason != HoldLeaving {
		p.next.WaitingSince = time.Time{}
		return p.withHold(h)
	}
	p.next.WellSince = time.Time{}
	if ver, going := p.going(); going {
		return ver
	}
	if ver, unknown := p.toldUnknown(); unknown {
		return ver
	}
	w, none := p.wishes()
	ask := p.asked()
	if !w.exists() && ask == nil {
		p.next.WaitingSince = time.Time{}
	}
	if !w.exists() {
		p.next.UsersSince = time.Time{}
		if ask == nil {
			return none
		}
	}
	var own Verdict
	if w.exists() {
		if own = p.mayBegin(w); own.Reason == "" {
			return p.await(p.claim(HoldRebooting, "", w.why))
		}
		if ask == nil {
			return own
		}
	}
	if ask.Scripts {
		if ver := p.scriptFailed(); ver.Reason != "" {
			return ver
		}
	}
	ver := p.await(p.claim(ask.Reason, ask.Client, ask.Why))
	if _, take := ver.Action.(TakeSlot); take && p.asking(ask) {
		// Who asked stands at the door: the request takes it, straight into acting.
		ver.Reason, ver.Action = GrantLock, nil
	}
	ver.Recheck = earlier(earlier(ver.Recheck, own.Recheck), ask.Asked.Add(placeKept))
	ver.Duties = append(ver.Duties, own.Duties...)
	return ver
}

// claim is a granted slot for somebody.
func (p *pass) claim(why HoldReason, client, words string) Take {
	t := p.take(why, Granted)
	t.Client, t.Why = client, words
	return t
}

// asked gives what a client or an operator asked for, for as long as that counts.
func (p *pass) asked() *Ask {
	if a := p.next.Ask; a != nil && !p.now.Before(a.Asked.Add(placeKept)) {
		p.next.Ask = nil
	}
	return p.next.Ask
}

// adoptPlace finds whom this agent kept a place for before it restarted: they go on asking,
// and keep it. It is as if they had asked when the agent began.
func (p *pass) adoptPlace() {
	if p.next.Adopted || !p.v.Lock.Known() {
		return
	}
	p.next.Adopted = true
	for _, w := range p.v.Lock.Value.Queue {
		if p.next.Ask == nil && w.Instance == p.v.Self.Instance && w.Boot == p.v.Self.Boot && w.Client != "" {
			p.next.Ask = &Ask{Reason: HoldFleetLock, Client: w.Client, Asked: p.v.Started}
		}
	}
}

// asking reports whether a request waits that is for this.
func (p *pass) asking(a *Ask) bool {
	return slices.ContainsFunc(p.v.Requests, func(r Request) bool {
		return a.Reason == HoldFleetLock && r.Kind == PreReboot && r.Client == a.Client ||
			a.Reason == HoldOperator && r.Kind == LockAcquire
	})
}

// going: this node is told to go.
func (p *pass) going() (Verdict, bool) {
	target, told := p.told()
	if told || p.record().Leaving != nil || p.next.Unwritten != nil {
		return Verdict{Reason: LeavingFirst, Detail: target}, true
	}
	return Verdict{}, false
}

// toldUnknown: nobody knows whether this node is told to go.
func (p *pass) toldUnknown() (Verdict, bool) {
	if !fresh(p, SourceTarget, p.v.Lifecycle, lifecycleStale) || !p.v.Spot.Known() {
		return Verdict{Reason: LifecycleUnknown, Detail: p.v.Lifecycle.Err + p.v.Spot.Err}, true
	}
	return Verdict{}, false
}

// noteReboots keeps the record of reboots: an order ends with its boot, and what a
// reboot was for is remembered until its source is content once.
func (p *pass) noteReboots() (Verdict, bool) {
	r := p.record()
	if p.v.Record.Instance != p.v.Self.Instance {
		return Verdict{}, false
	}
	change := false
	if r.Reboot != nil && r.Reboot.Boot != p.v.Self.Boot {
		r.Reboot, change = nil, true
	}
	if done := r.Rebooted; done != nil && done.Boot != p.v.Self.Boot {
		var still []string
		for _, key := range done.For {
			s, _, _ := strings.Cut(key, "/")
			f, ok := p.v.Wants[WantSource(s)]
			if ok && (!f.Known() || f.Value.Wanted && wantKey(WantSource(s), f.Value) == key) {
				still = append(still, key)
			}
		}
		if len(still) != len(done.For) {
			change = true
			r.Rebooted = &Rebooted{Boot: done.Boot, For: still}
			if len(still) == 0 {
				r.Rebooted = nil
			}
		}
	}
	if !change {
		return Verdict{}, false
	}
	return Verdict{Reason: NoteReboot, Detail: "what the last reboot was for", Action: WriteRecord{Why: string(NoteReboot), Record: r}}, true
}

// mayBegin tells why this agent may not begin a reboot now, whatever the lock says;
// no Reason: it may.
func (p *pass) mayBegin(w wish) Verdict {
	if ver := p.window(w); ver.Reason != "" {
		return ver
	}
	if ver := p.login(); ver.Reason != "" {
		return ver
	}
	l := p.v.Login
	if w.order || len(l.Value.Users) == 0 || p.cfg.Reboot.UserGrace <= 0 {
		p.next.UsersSince = time.Time{}
	} else {
		if p.next.UsersSince.IsZero() {
			p.next.UsersSince = p.now
		}
		if until := p.next.UsersSince.Add(p.cfg.Reboot.UserGrace); p.now.Before(until) {
			return Verdict{Reason: AwaitUsers, Detail: strings.Join(l.Value.Users, "; "), Recheck: until}
		}
	}
	if ver := p.scriptFailed(); ver.Reason != "" {
		return ver
	}
	return p.hindered(p.cfg.StaleAfter)
}

// scriptFailed: what runs before a reboot failed a while ago, and has its pause.
func (p *pass) scriptFailed() Verdict {
	if r := p.v.Receipts[ScriptsKey(ScriptsBefore)]; r.Failures > 0 {
		if again := r.Ended.Add(scriptsAgain); p.now.Before(again) {
			return Verdict{Reason: ScriptFailed, Detail: r.LastErr, Recheck: again}
		}
	}
	return Verdict{}
}

// login tells whether logind would reboot the machine.
func (p *pass) login() Verdict {
	l := p.v.Login
	if !fresh(p, SourceLogin, l, loginStale) {
		return Verdict{Reason: LoginUnknown, Detail: l.Err}
	}
	if len(l.Value.Blocks) > 0 {
		return Verdict{Reason: Inhibited, Detail: strings.Join(l.Value.Blocks, "; ")}
	}
	return Verdict{}
}

// loginStale is how old logind's word may be: it is asked every few seconds, and at
// once when it signals.
const loginStale = 30 * time.Second

// window tells whether a window is waited for.
func (p *pass) window(w wish) Verdict {
	if w.order {
		return Verdict{}
	}
	open, next := p.cfg.Reboot.Windows.At(p.now)
	p.recheck = earlier(p.recheck, next)
	if open {
		return Verdict{}
	}
	if !w.due.IsZero() {
		lead := w.due.Add(-eventLead)
		if !p.now.Before(lead) {
			return Verdict{}
		}
		next = earlier(next, lead)
	}
	p.next.UsersSince = time.Time{}
	return Verdict{Reason: AwaitWindow, Detail: "until " + next.UTC().Format(time.DateTime), Recheck: next}
}
