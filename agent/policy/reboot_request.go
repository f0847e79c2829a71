package policy

import "fmt"

// requests answers what is asked from outside, the oldest first that can be. What
// waits does not keep the others from being answered.
func requests(p *pass) Verdict {
	out := Verdict{Reason: Idle}
	for _, r := range p.v.Requests {
		ver := p.request(r)
		if ver.Action != nil {
			ver.Blocks = append(ver.Blocks, out.Blocks...)
			ver.Duties = append(ver.Duties, out.Duties...)
			ver.Recheck = earlier(ver.Recheck, out.Recheck)
			return ver
		}
		if out.Reason == Idle {
			out.Reason, out.Detail = ver.Reason, ver.Detail
		}
		out.Blocks = append(out.Blocks, ver.Blocks...)
		out.Duties = append(out.Duties, ver.Duties...)
		out.Recheck = earlier(out.Recheck, ver.Recheck)
	}
	return out
}

func (p *pass) request(r Request) Verdict {
	switch r.Kind {
	case FreshStart:
		return p.freshStart(r)
	case ForceElection:
		return p.forceElection(r)
	case OrderReboot, CancelReboot:
		return p.order(r)
	}
	// All that follows rests on the lock as it is now.
	if !p.lockNow() {
		return Verdict{Reason: LockUnknown, Detail: p.v.Lock.Err, Duties: []Duty{WatchClosely{}}}
	}
	switch r.Kind {
	case PreReboot:
		return p.preReboot(r)
	case SteadyState:
		return p.steadyState(r)
	case LockAcquire:
		return p.grant(r, &Ask{Reason: HoldOperator, Why: r.Why, Asked: p.now})
	case LockRelease:
		return p.lockRelease(r)
	case LockSlots:
		return p.lockSlots(r)
	}
	return refuse(r, RequestRefused, "unknown request "+string(r.Kind))
}

// refuse answers no, with the word for why not; grant that nothing was to be done.
func refuse(r Request, why Reason, words string) Verdict {
	return Verdict{Reason: why, Detail: words, Action: AnswerRequest{ID: r.ID, Reason: why, Answer: words}}
}

func accept(r Request, words string) Verdict {
	return Verdict{Reason: RequestDone, Detail: words, Action: AnswerRequest{ID: r.ID, OK: true, Answer: words}}
}

// order writes an operator's order to reboot down, or takes it back.
func (p *pass) order(r Request) Verdict {
	rec := p.record()
	have := rec.Reboot != nil && rec.Reboot.Boot == p.v.Self.Boot
	if p.v.Record.Instance != p.v.Self.Instance {
		return refuse(r, ForeignRecord, "this node's disk is not its own yet: ask again in a moment")
	}
	if r.Kind == CancelReboot {
		if h, ok := p.ownHold(); ok && h.Reason == HoldRebooting && h.Phase == Acting && h.Boot == p.v.Self.Boot {
			return refuse(r, RebootNow, "the reboot has begun")
		}
		if !have {
			return accept(r, "no reboot is ordered")
		}
		rec.Reboot = nil
		return Verdict{Reason: TakeOrder, Detail: "taken back", Action: WriteRecord{Why: string(TakeOrder), Record: rec}}
	}
	if ver, going := p.going(); going {
		return refuse(r, ver.Reason, "this node is told to go: it leaves, and is not rebooted")
	}
	if have {
		return accept(r, fmt.Sprintf("a reboot is ordered since %s (%s); quorumd status says what it waits for",
			rec.Reboot.Since.UTC().Format("2006-01-02 15:04:05"), rec.Reboot.Why))
	}
	rec.Reboot = &RebootOrder{Boot: p.v.Self.Boot, Why: r.Why, Since: p.now}
	return Verdict{Reason: TakeOrder, Detail: r.Why, Action: WriteRecord{Why: string(TakeOrder), Record: rec}}
}

// preReboot is FleetLock's request for the lock.
func (p *pass) preReboot(r Request) Verdict {
	if p.cfg.Role == RoleWorker && r.Group != p.cfg.LockGroup {
		return refuse(r, WrongGroup, fmt.Sprintf("this node is in reboot group %q, not in %q", p.cfg.LockGroup, r.Group))
	}
	return p.grant(r, &Ask{Reason: HoldFleetLock, Client: r.Client, Scripts: r.Scripts, Asked: p.now})
}

// grant answers yes only where the lock is held for who asks, acting, and the
// cluster can do without this node now. Who is refused keeps the place.
func (p *pass) grant(r Request, a *Ask) Verdict {
	if ver, going := p.going(); going {
		return refuse(r, ver.Reason, "this node is told to go: "+ver.Detail)
	}
	h, held := p.ownHold()
	if held && (h.Reason != a.Reason || h.Client != a.Client) {
		switch h.Reason {
		case HoldLeaving:
			return refuse(r, LeavingFirst, "this node holds the lock to leave")
		case HoldRebooting:
			return refuse(r, Rebooting, "quorumd is about to reboot this machine itself, or has: "+h.Why)
		case HoldOperator:
			return refuse(r, HeldForOperator, "an operator holds the lock at this node: "+h.Why)
		}
		return refuse(r, OtherClient, fmt.Sprintf("client %s of this node holds the lock", h.Client))
	}
	if old := p.asked(); old != nil && (old.Reason != a.Reason || old.Client != a.Client) {
		return refuse(r, OtherClient, who(old.Reason, old.Client)+" waits for the lock at this node")
	}
	p.next.Ask = a
	if ver := p.mayGrant(a, h, held); ver.Reason != "" {
		if patient(ver) || ver.Reason == LifecycleUnknown {
			ver.Duties = append(ver.Duties, WatchClosely{})
			return ver
		}
		out := refuse(r, ver.Reason, ver.Detail)
		out.Duties = ver.Duties
		return out
	}
	duties := []Duty{WatchGroup{Every: rebootWatch}, WatchClosely{}}
	if !held {
		if ok, ahead := p.free(); !ok {
			return refuse(r, AwaitLock, ahead+"; the place is kept for "+placeKept.String())
		}
		if !p.sinceClear() {
			return Verdict{Reason: HealthUnknown, Detail: "the members are looked at since the lock was free", Duties: duties}
		}
	}
	again := held && h.Phase == Acting && h.Boot == p.v.Self.Boot
	if ver := p.carried(); ver.Reason != "" && !(again && a.Reason == HoldOperator) {
		ver.Duties = append(ver.Duties, duties...)
		return ver // leadership may have come back since, too
	}
	if a.Scripts && !again {
		if ver := p.scriptsFirst(r, a, h, held); ver.Reason != "" {
			ver.Duties = append(ver.Duties, duties...)
			return ver
		}
	}
	switch {
	case again && !p.unfenced(h):
		p.next.Ask = nil
		return accept(r, "the lock is held since "+h.Since.UTC().Format("2006-01-02 15:04:05"))
	case held && h.Boot == p.v.Self.Boot:
		return Verdict{Reason: GrantLock, Detail: who(a.Reason, a.Client), Duties: duties,
			Action: MarkActing{Revision: h.Revision, Answers: r.ID}}
	}
	t := p.claim(a.Reason, a.Client, a.Why)
	t.Phase = Acting
	return Verdict{Reason: GrantLock, Detail: who(a.Reason, a.Client), Duties: duties, Action: TakeSlot{Take: t, Answers: r.ID}}
}

// scriptsFirst has what comes before a reboot run under the client's slot, before it is
// granted. No Reason: it has run. A client that is told no meanwhile asks again.
func (p *pass) scriptsFirst(r Request, a *Ask, h Hold, held bool) Verdict {
	if ver := p.scriptFailed(); ver.Reason != "" {
		return refuse(r, ver.Reason, ver.Detail)
	}
	switch {
	case !held:
		return Verdict{Reason: TakeLock, Detail: who(a.Reason, a.Client), Action: TakeSlot{Take: p.claim(a.Reason, a.Client, a.Why)}}
	case !p.ranBefore(h):
		p.next.ScriptsFor = h.Revision
		return Verdict{Reason: RunBefore, Detail: "for " + who(a.Reason, a.Client), Duties: []Duty{RunScripts{When: ScriptsBefore, Revision: h.Revision}}}
	}
	return Verdict{}
}

// mayGrant tells why nobody may be let reboot this machine, or have its lock, now.
func (p *pass) mayGrant(a *Ask, h Hold, held bool) Verdict {
	if ver, unknown := p.toldUnknown(); unknown {
		return ver
	}
	if a.Reason == HoldFleetLock {
		if ver := p.window(wish{}); ver.Reason != "" {
			return ver
		}
	}
	if held && a.Reason == HoldOperator && h.Phase == Acting {
		return Verdict{} // it is for the operator to say what is done with it
	}
	return p.hindered(p.cfg.ActWithin)
}

// steadyState is FleetLock's release: given where nothing is held for the client.
func (p *pass) steadyState(r Request) Verdict {
	h, held := p.ownHold()
	if a := p.next.Ask; a != nil && a.Reason == HoldFleetLock && a.Client == r.Client {
		p.next.Ask = nil // it wants no reboot any more
	}
	switch {
	case held && h.Reason == HoldLeaving && h.Client != "" && h.Client == r.Client:
		// The hold was this client's before the node was told to go. It must not become
		// its again if the node stays after all: nobody would ever give it back.
		t := p.take(HoldLeaving, h.Phase)
		t.Client = ""
		return Verdict{Reason: TakeLock, Detail: "client " + r.Client + " is done with what this node holds to leave",
			Action: TakeSlot{Take: t, Answers: r.ID}}
	case !held || h.Reason != HoldFleetLock || h.Client != r.Client:
		return accept(r, "nothing is held for this client")
	}
	if h.Phase == Granted {
		rel := h.release()
		rel.Answers = r.ID
		return Verdict{Reason: GiveBackLock, Detail: who(h.Reason, h.Client), Action: rel}
	}
	ver := Verdict{}
	if h.Boot != p.v.Self.Boot {
		ver = p.recovered(h)
	}
	if ver.Reason == "" {
		ver = p.settledRelease(h, r.ID)
	}
	// What is only a matter of moments is waited for; the rest the client hears.
	if ver.Action != nil || ver.Reason == RunAfter || ver.Reason == ComingBack && p.justStale() {
		return ver
	}
	out := refuse(r, ver.Reason, ver.Detail)
	out.Duties = ver.Duties
	return out
}

// justStale: this node is healthy by facts that are a little too old to act on.
func (p *pass) justStale() bool {
	ok, _ := p.well(p.cfg.StaleAfter)
	return ok
}

// lockRelease gives anybody's hold back for an operator, who was told whose it is.
func (p *pass) lockRelease(r Request) Verdict {
	id := r.Instance
	if id == "" {
		id = p.v.Self.Instance
	}
	if a := p.next.Ask; a != nil && a.Reason == HoldOperator && id == p.v.Self.Instance {
		p.next.Ask = nil
	}
	for _, h := range p.v.Lock.Value.Holders {
		if h.Instance != id {
			continue
		}
		if r.Revision != 0 && r.Revision != h.Revision {
			return refuse(r, HoldChanged, fmt.Sprintf("the hold of %s has changed since it was shown (%s, %s): look again", id, h.Reason, h.Phase))
		}
		rel := h.release()
		rel.Answers = r.ID
		return Verdict{Reason: ReleaseAsked, Detail: fmt.Sprintf("%s (%s, %s)", id, h.Reason, h.Phase), Action: rel}
	}
	return accept(r, fmt.Sprintf("%s holds nothing", id))
}

// lockSlots sets the slots of a workers' group.
func (p *pass) lockSlots(r Request) Verdict {
	switch {
	case p.cfg.Role != RoleWorker:
		return refuse(r, RequestRefused, "the lock of etcd's members has one slot, always")
	case r.Slots < 1:
		return refuse(r, RequestRefused, "a lock needs at least one slot")
	case p.v.Lock.Value.Slots == r.Slots:
		return accept(r, fmt.Sprintf("the group has %d slots", r.Slots))
	}
	return Verdict{Reason: SetLockSlots, Detail: fmt.Sprintf("%d", r.Slots), Action: SetSlots{Slots: r.Slots, Answers: r.ID}}
}
