package policy

import (
	"fmt"
	"strconv"
	"time"
)

// withHold goes on with a hold of this node's own that is not for leaving.
func (p *pass) withHold(h Hold) Verdict {
	ver := p.holdStep(h)
	if ver.Action != nil && !p.lockNow() {
		return Verdict{Reason: LockUnknown, Detail: "it is read anew", Duties: append(ver.Duties, WatchClosely{})}
	}
	return ver
}

func (p *pass) holdStep(h Hold) Verdict {
	if ver, going := p.going(); going {
		return ver // the leave concern makes the hold its own
	}
	if h.Reason == HoldRestarting {
		return Verdict{Reason: FrozenMember, Detail: "the lock is held to restart this node's member"} // the election concern's
	}
	same := h.Boot == p.v.Self.Boot
	switch {
	case h.Phase == Granted && !same:
		return Verdict{Reason: GiveBackLock, Detail: "granted in an earlier boot", Action: h.release()}
	case h.Phase == Granted && h.Reason == HoldRebooting:
		return p.prepare(h)
	case h.Phase == Granted:
		return p.keep(h)
	case h.Reason == HoldOperator:
		// An operator's hold outlives reboots: those are what it may be for.
		return Verdict{Reason: HeldForOperator, Detail: h.Why}
	case !same:
		return p.back(h)
	case h.Reason == HoldFleetLock:
		return Verdict{Reason: HeldForClient, Detail: "client " + h.Client + " may reboot this machine, or say steady-state"}
	}
	return p.restart(h)
}

// giveBack deletes a granted hold, which may be done at any time.
func giveBack(h Hold, why Verdict) Verdict {
	return Verdict{Reason: GiveBackLock, Detail: string(why.Reason) + " " + why.Detail, Action: h.release(),
		Duties: why.Duties, Recheck: why.Recheck}
}

// patient reports whether a hindrance only waits for a newer observation.
func patient(v Verdict) bool {
	return v.Reason == HealthUnknown || v.Reason == LoginUnknown || v.Reason == LeaderUnsettled
}

// keep holds a granted slot for a client or an operator until they ask again.
func (p *pass) keep(h Hold) Verdict {
	if p.next.GrantedAt != h.Revision {
		p.next.GrantedAt, p.next.GrantedSince = h.Revision, p.now
	}
	until := p.next.GrantedSince.Add(grantKept)
	if !p.now.Before(until) {
		p.next.Ask = nil
		return Verdict{Reason: PlaceLapsed, Detail: "nobody asked for it for " + grantKept.String(), Action: h.release()}
	}
	if l := p.v.Lock.Value.Leaving; len(l) > 0 {
		return giveBack(h, Verdict{Reason: AwaitLock, Detail: string(l[0].Instance) + " is leaving", Recheck: until})
	}
	ver := p.hindered(p.cfg.StaleAfter)
	if ver.Reason == "" && h.Reason == HoldFleetLock {
		ver = p.window(wish{})
	}
	begun := p.next.ScriptsFor == h.Revision
	if ver.Reason == "" && begun {
		ver = p.scriptFailed()
	}
	if ver.Reason != "" && !patient(ver) {
		ver.Recheck = earlier(ver.Recheck, until)
		return giveBack(h, ver)
	}
	duties := []Duty{WatchGroup{Every: rebootWatch}}
	if begun && !p.ranBefore(h) { // they go on while the client is away
		return Verdict{Reason: RunBefore, Detail: "for " + who(h.Reason, h.Client), Recheck: until,
			Duties: append(duties, RunScripts{When: ScriptsBefore, Revision: h.Revision})}
	}
	return Verdict{Reason: PlaceKept, Detail: "for " + who(h.Reason, h.Client), Recheck: until, Duties: duties}
}

// ranBefore: what runs before a reboot has run under this hold.
func (p *pass) ranBefore(h Hold) bool {
	r := p.v.Receipts[ScriptsKey(ScriptsBefore)]
	return r.Done() && r.Detail == token(h)
}

func who(r HoldReason, client string) string {
	if r == HoldFleetLock {
		return "FleetLock client " + client
	}
	return "an operator"
}

// prepare makes everything ready under a granted hold, and makes it acting as the
// last step before the reboot.
func (p *pass) prepare(h Hold) Verdict {
	if ver, unknown := p.toldUnknown(); unknown {
		return giveBack(h, ver)
	}
	if l := p.v.Lock.Value.Leaving; len(l) > 0 {
		return giveBack(h, Verdict{Reason: AwaitLock, Detail: string(l[0].Instance) + " is leaving"})
	}
	w, none := p.wishes()
	if !w.exists() {
		return giveBack(h, none)
	}
	ver := p.mayBegin(w)
	if ver.Reason == "" {
		ver = p.hindered(p.cfg.ActWithin)
	}
	duties := []Duty{WatchGroup{Every: rebootWatch}, WatchClosely{}}
	switch {
	case patient(ver):
		ver.Duties = append(ver.Duties, duties...)
		return ver
	case ver.Reason != "":
		return giveBack(h, ver)
	}
	step := func(r Reason, detail string, a Action) Verdict {
		return Verdict{Reason: r, Detail: detail, Action: a, Duties: duties}
	}
	if !p.ranBefore(h) {
		duties = append(duties, RunScripts{When: ScriptsBefore, Revision: h.Revision})
		return step(RunBefore, "", nil)
	}
	if note, ok := p.note(w); ok {
		return step(NoteReboot, w.why, note)
	}
	if ver := p.carried(); ver.Reason != "" {
		return step(ver.Reason, ver.Detail, ver.Action)
	}
	return step(BeginReboot, w.why, MarkActing{Revision: h.Revision})
}

// token is what scripts that ran under a hold leave in their receipt.
func token(h Hold) string { return strconv.FormatInt(h.Revision, 10) }

// note writes down what a reboot is for, where the record does not say so yet.
func (p *pass) note(w wish) (WriteRecord, bool) {
	rec, note := p.record(), &Rebooted{Boot: p.v.Self.Boot, For: w.sources}
	if len(w.sources) == 0 || sameReboot(rec.Rebooted, note) {
		return WriteRecord{}, false
	}
	rec.Rebooted = note
	return WriteRecord{Why: string(NoteReboot), Record: rec}, true
}

func sameReboot(a, b *Rebooted) bool {
	if a == nil || a.Boot != b.Boot || len(a.For) != len(b.For) {
		return false
	}
	for i := range a.For {
		if a.For[i] != b.For[i] {
			return false
		}
	}
	return true
}

// restart reboots the machine under an acting hold of this boot, also one that an
// earlier process of this agent left behind: the reboot never happened, and goes on.
//
// Where it may not go now, the hold is given back as a whole, and only on proof that
// no reboot is under way: logind says so, a minute after the last attempt. It never
// becomes granted again.
func (p *pass) restart(h Hold) Verdict {
	l, tried := p.v.Login, p.v.Receipts[Reboot{}.Key()]
	duties := []Duty{WatchGroup{Every: rebootWatch}, WatchClosely{}}
	if l.Known() && l.Value.GoingDown {
		return Verdict{Reason: Rebooting, Detail: "the machine goes down"}
	}
	now := RebootNow
	if tried.Done() {
		if until := tried.Succeeded.Add(rebootWithin); p.now.Before(until) {
			return Verdict{Reason: Rebooting, Detail: "logind has accepted it", Recheck: until}
		}
		now = RebootStalled
	}
	w, ver := p.wishes()
	if w.exists() {
		if ver = p.goNow(w); ver.Action != nil {
			ver.Duties = append(ver.Duties, duties...)
			return ver // leadership has come back: away with it again
		}
		if ver.Reason == "" && p.unfenced(h) {
			return Verdict{Reason: BeginReboot, Detail: "again: " + w.why, Action: MarkActing{Revision: h.Revision}, Duties: duties}
		}
		// What came up while the reboot did not happen is served by it, too. The hold is
		// acting: a disk that takes no writes does not keep it.
		if note, ok := p.note(w); ok && ver.Reason == "" && p.v.Receipts[note.Key()].Failures < unwritable {
			return Verdict{Reason: NoteReboot, Detail: w.why, Action: note, Duties: duties}
		}
		if ver.Reason == "" {
			return Verdict{Reason: now, Detail: w.why, Action: Reboot{Why: w.why}, Duties: duties}
		}
	}
	ver.Duties = append(ver.Duties, duties...)
	if patient(ver) {
		return ver
	}
	proof := later(tried.Ended, p.v.Started).Add(landsWithin)
	if p.now.Before(proof) {
		ver.Recheck = earlier(ver.Recheck, proof)
		return ver
	}
	if !fresh(p, SourceLogin, l, loginStale) || l.At.Before(proof) {
		p.wants[SourceLogin] = true
		return Verdict{Reason: LoginUnknown, Detail: l.Err, Duties: duties}
	}
	return giveBack(h, ver)
}

// goNow is the last look before the reboot.
func (p *pass) goNow(w wish) Verdict {
	if ver := p.window(w); ver.Reason != "" {
		return ver
	}
	if ver := p.login(); ver.Reason != "" {
		return ver
	}
	if ver := p.hindered(p.cfg.ActWithin); ver.Reason != "" {
		return ver
	}
	return p.carried()
}

// back ends the hold of a reboot that happened: another boot id, and this node is
// healthy again.
func (p *pass) back(h Hold) Verdict {
	if ver := p.recovered(h); ver.Reason != "" {
		return ver
	}
	if until := p.next.WellSince.Add(steadyWithin); h.Reason == HoldFleetLock && p.now.Before(until) {
		return Verdict{Reason: AwaitSteady, Detail: "client " + h.Client, Recheck: until}
	}
	return p.settledRelease(h, "")
}

// settledRelease gives an acting hold back, by facts of a moment ago.
func (p *pass) settledRelease(h Hold, request string) Verdict {
	if ok, what := p.well(p.cfg.ActWithin); !ok {
		return Verdict{Reason: ComingBack, Detail: what, Duties: []Duty{WatchClosely{}}}
	}
	r := h.release()
	r.Answers = request
	return Verdict{Reason: RebootDone, Detail: h.Why, Action: r}
}

// recovered tells what a node that has rebooted still waits for before its slot may
// go: its health, its own scripts, the pause that is configured.
func (p *pass) recovered(h Hold) Verdict {
	if ok, what := p.well(p.cfg.StaleAfter); !ok {
		p.next.WellSince = time.Time{}
		return Verdict{Reason: ComingBack, Detail: what, Duties: []Duty{WatchClosely{}}}
	}
	run := RunScripts{When: ScriptsAfter, Revision: h.Revision}
	switch r := p.v.Receipts[ScriptsKey(ScriptsAfter)]; {
	case r.Detail != token(h):
		return Verdict{Reason: RunAfter, Duties: []Duty{run}}
	case !r.Done():
		if again := r.Ended.Add(scriptsAgain); p.now.Before(again) {
			return Verdict{Reason: ScriptFailed, Detail: r.LastErr, Recheck: again}
		}
		return Verdict{Reason: RunAfter, Detail: "again: " + r.LastErr, Duties: []Duty{run}}
	}
	if p.next.WellSince.IsZero() {
		p.next.WellSince = p.now
	}
	// The pause is between reboots: a node that leaves does not wait for it.
	if until := p.next.WellSince.Add(p.cfg.Reboot.PauseBetween); len(p.v.Lock.Value.Leaving) == 0 && p.now.Before(until) {
		return Verdict{Reason: PauseBetween, Detail: fmt.Sprintf("%s after each reboot", p.cfg.Reboot.PauseBetween), Recheck: until}
	}
	return Verdict{}
}
