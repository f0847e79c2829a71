package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// updated is steady, led by another, for a node that an update wants rebooted.
func updated() View {
	v := steady()
	lead(&v, 2)
	v.Lock.Value.Turn = 3
	v.Login = Observed(Login{}, t0)
	v.Wants = map[WantSource]Fact[Want]{WantUpdateEngine: Observed(Want{Wanted: true, Why: "2.0"}, t0)}
	return v
}

func rebooting(phase HoldPhase, boot string) []Hold {
	return []Hold{{Instance: "i-1", Boot: boot, Member: 1, Cluster: 9, Reason: HoldRebooting, Phase: phase, Why: "update-engine: 2.0", Revision: 7}}
}

// ready is updated with the slot, and everything done that comes before the last step.
func ready(v *View) {
	v.Lock.Value.Holders = rebooting(Granted, "b")
	v.Receipts[ScriptsKey(ScriptsBefore)] = Receipt{Ended: t0, Succeeded: t0, Detail: "7"}
	v.Record.Rebooted = &Rebooted{Boot: "b", For: []string{"update-engine"}}
}

func TestRebootVerdicts(t *testing.T) {
	take := TakeSlot{Take: Take{Reason: HoldRebooting, Phase: Granted, Member: 1, Cluster: 9, Why: "update-engine: 2.0", Turn: 3}}
	giveBack := ReleaseHold{Instance: "i-1", Revision: 7}
	noted := Record{Instance: "i-1", Member: 1, Cluster: 9, Ran: true, Rebooted: &Rebooted{Boot: "b", For: []string{"update-engine"}}}
	night := Windows{{Days: []time.Weekday{0, 1, 2, 3, 4, 5, 6}, Start: 23 * time.Hour, Length: time.Hour}} // t0 is noon
	for name, c := range map[string]struct {
		cfg    func(*Config)
		with   func(*View)
		reason Reason
		action Action
	}{
		"nobody wants one":         {nil, func(v *View) { v.Wants = nil }, RebootNotWanted, nil},
		"the lock first":           {nil, func(*View) {}, TakeLock, take},
		"strategy off":             {func(c *Config) { c.Reboot.Strategy = StrategyOff }, func(*View) {}, RebootOff, nil},
		"a source that is silent":  {nil, func(v *View) { v.Wants[WantUpdateEngine] = Fact[Want]{Err: "no bus"} }, WantUnknown, nil},
		"in vain":                  {nil, func(v *View) { v.Record.Rebooted = &Rebooted{Boot: "a", For: []string{"update-engine"}} }, RebootInVain, nil},
		"told to go":               {nil, func(v *View) { v.Lifecycle.Value = TargetTerminated }, LeavingFirst, nil},
		"metadata silent":          {nil, func(v *View) { v.Lifecycle = Fact[Target]{} }, LifecycleUnknown, nil},
		"outside the window":       {func(c *Config) { c.Reboot.Windows = night }, func(*View) {}, AwaitWindow, nil},
		"an order waits for none":  {func(c *Config) { c.Reboot.Windows = night }, func(v *View) { v.Wants, v.Record.Reboot = nil, &RebootOrder{Boot: "b"} }, TakeLock, TakeSlot{Take: Take{Reason: HoldRebooting, Phase: Granted, Member: 1, Cluster: 9, Why: "an operator", Turn: 3}}},
		"logind unknown":           {nil, func(v *View) { v.Login = Fact[Login]{} }, LoginUnknown, nil},
		"inhibited":                {nil, func(v *View) { v.Login.Value.Blocks = []string{"apt"} }, Inhibited, nil},
		"a user":                   {func(c *Config) { c.Reboot.UserGrace = time.Minute }, func(v *View) { v.Login.Value.Users = []string{"core"} }, AwaitUsers, nil},
		"a user, no grace":         {nil, func(v *View) { v.Login.Value.Users = []string{"core"} }, TakeLock, take},
		"another voter is down":    {nil, func(v *View) { v.Health[3] = Fact[Health]{Err: "refused"} }, VotersUnhealthy, nil},
		"another voter is unknown": {nil, func(v *View) { delete(v.Health, 3) }, HealthUnknown, nil},
		"its own member is down":   {nil, func(v *View) { v.Health[1] = Fact[Health]{Err: "refused"} }, TakeLock, take},
		"its own is not known":     {nil, func(v *View) { delete(v.Health, 1) }, HealthUnknown, nil},
		"a learner joins":          {nil, func(v *View) { v.Members.Value.Members[2].Learner = true }, MemberJoining, nil},
		"another leaves":           {nil, func(v *View) { v.Group.Value.Instances[1].State = StateTerminatingWait }, MemberLeaving, nil},
		"a voter is missing":       {nil, func(v *View) { v.Group.Value.Desired = 4 }, VotersMissing, nil},
		"AWS silent":               {nil, func(v *View) { v.Group.Err = "throttled" }, GroupUnknown, nil},
		"NOSPACE":                  {nil, func(v *View) { h := v.Health[2]; h.Value.NoSpace = true; v.Health[2] = h }, RebootNoSpace, nil},
		"two voters":               {nil, func(v *View) { two(v) }, SmallCluster, nil},
		"two voters, allowed":      {func(c *Config) { c.Reboot.SmallClusters = true }, func(v *View) { two(v) }, TakeLock, take},
		"two voters, its own down": {func(c *Config) { c.Reboot.SmallClusters = true }, func(v *View) { two(v); v.Health[1] = Fact[Health]{Err: "refused"} }, VotersUnhealthy, nil},
		"somebody leaves":          {nil, func(v *View) { v.Lock.Value.Leaving = []Waiter{{Instance: "i-2"}} }, AwaitLock, nil},
		"somebody is ahead":        {nil, func(v *View) { v.Lock.Value.Queue = []Waiter{{Instance: "i-2"}} }, AwaitLock, nil},
		"somebody holds it":        {nil, func(v *View) { v.Lock.Value.Holders = []Hold{{Instance: "i-2", Reason: HoldRebooting}} }, AwaitLock, nil},
		"lock unknown":             {nil, func(v *View) { v.Lock = Fact[Lock]{} }, LockUnknown, nil},
		"a script failed of late": {nil, func(v *View) {
			v.Receipts[ScriptsKey(ScriptsBefore)] = Receipt{Ended: t0.Add(-time.Minute), Failures: 1}
		}, ScriptFailed, nil},
		"granted: scripts":               {nil, func(v *View) { v.Lock.Value.Holders = rebooting(Granted, "b") }, RunBefore, nil},
		"granted: a note":                {nil, func(v *View) { ready(v); v.Record.Rebooted = nil }, NoteReboot, WriteRecord{Why: "NoteReboot", Record: noted}},
		"granted: leadership away":       {nil, func(v *View) { ready(v); lead(v, 1) }, HandOver, MoveLeader{To: 2}},
		"granted: no successor is known": {nil, func(v *View) { ready(v); lead(v, 1); delete(v.Health, 2); delete(v.Health, 3) }, HealthUnknown, nil},
		"granted: one follows it yet": {nil, func(v *View) {
			ready(v)
			h := v.Health[3]
			h.Value.Leader = 1
			v.Health[3] = h
		}, LeaderUnsettled, nil},
		"granted: two leaders": {nil, func(v *View) {
			ready(v)
			h := v.Health[3]
			h.Value.Leader = 3
			v.Health[3] = h
		}, LeaderUnsettled, nil},
		"granted: no leader":          {nil, func(v *View) { ready(v); lead(v, 0) }, LeaderUnsettled, nil},
		"granted: ready":              {nil, ready, BeginReboot, MarkActing{Revision: 7}},
		"granted: somebody leaves":    {nil, func(v *View) { ready(v); v.Lock.Value.Leaving = []Waiter{{Instance: "i-2"}} }, GiveBackLock, giveBack},
		"granted: a voter fails":      {nil, func(v *View) { ready(v); v.Health[3] = Fact[Health]{Err: "refused"} }, GiveBackLock, giveBack},
		"granted: the window ends":    {func(c *Config) { c.Reboot.Windows = night }, ready, GiveBackLock, giveBack},
		"granted: nobody wants it":    {nil, func(v *View) { ready(v); v.Wants = nil }, GiveBackLock, giveBack},
		"granted in another boot":     {nil, func(v *View) { v.Lock.Value.Holders = rebooting(Granted, "a") }, GiveBackLock, giveBack},
		"acting: reboot":              {nil, func(v *View) { ready(v); v.Lock.Value.Holders = rebooting(Acting, "b") }, RebootNow, Reboot{Why: "update-engine: 2.0"}},
		"acting: it leads again":      {nil, func(v *View) { ready(v); lead(v, 1); v.Lock.Value.Holders = rebooting(Acting, "b") }, HandOver, MoveLeader{To: 2}},
		"acting: no leader now":       {nil, func(v *View) { ready(v); lead(v, 0); v.Lock.Value.Holders = rebooting(Acting, "b") }, LeaderUnsettled, nil},
		"two voters, the leader":      {func(c *Config) { c.Reboot.SmallClusters = true }, func(v *View) { two(v); ready(v); lead(v, 1) }, HandOver, MoveLeader{To: 2}},
		"two voters, the other leads": {func(c *Config) { c.Reboot.SmallClusters = true }, func(v *View) { two(v); ready(v) }, BeginReboot, MarkActing{Revision: 7}},
		"one voter": {func(c *Config) { c.Reboot.SmallClusters = true }, func(v *View) {
			ready(v)
			lead(v, 1)
			v.Members.Value.Members, v.Group.Value.Desired = v.Members.Value.Members[:1], 1
		}, BeginReboot, MarkActing{Revision: 7}},
		"acting: no note of what for": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "b")
		}, NoteReboot, WriteRecord{Why: "NoteReboot", Record: noted}},
		"acting: a note of a part": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Record.Rebooted = &Rebooted{Boot: "b", For: []string{"sentinel"}}
		}, NoteReboot, WriteRecord{Why: "NoteReboot", Record: noted}},
		"acting: the disk takes no note": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Receipts[WriteRecord{Why: "NoteReboot", Record: noted}.Key()] = Receipt{Ended: t0.Add(-time.Hour), Failures: 3}
		}, RebootNow, Reboot{Why: "update-engine: 2.0"}},
		"acting: a late release": {nil, func(v *View) {
			ready(v)
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Receipts[giveBack.Key()] = Receipt{Ended: t0.Add(-time.Hour), Failures: 1}
		}, BeginReboot, MarkActing{Revision: 7}},
		"acting: it goes down": {nil, func(v *View) { v.Lock.Value.Holders = rebooting(Acting, "b"); v.Login.Value.GoingDown = true }, Rebooting, nil},
		"acting: accepted": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Receipts["reboot"] = Receipt{Ended: t0, Succeeded: t0}
		}, Rebooting, nil},
		"acting: accepted long ago": {nil, func(v *View) {
			ready(v)
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Receipts["reboot"] = Receipt{Ended: t0.Add(-time.Hour), Succeeded: t0.Add(-time.Hour)}
		}, RebootStalled, Reboot{Why: "update-engine: 2.0"}},
		"acting: not now, proven": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Health[3] = Fact[Health]{Err: "refused"}
		}, GiveBackLock, giveBack},
		"acting: not now, too soon": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Health[3] = Fact[Health]{Err: "refused"}
			v.Started = t0.Add(-time.Second)
		}, VotersUnhealthy, nil},
		"acting: logind is silent": {nil, func(v *View) { v.Lock.Value.Holders = rebooting(Acting, "b"); v.Wants = nil; v.Login = Fact[Login]{} }, LoginUnknown, nil},
		"back: not healthy": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "a")
			v.Health[1] = Fact[Health]{Err: "refused"}
		}, ComingBack, nil},
		"back: a unit is down": {func(c *Config) { c.Reboot.Services = true }, func(v *View) { v.Lock.Value.Holders = rebooting(Acting, "a"); v.Down = Observed([]string{"web"}, t0) }, ComingBack, nil},
		"back: units unknown":  {func(c *Config) { c.Reboot.Services = true }, func(v *View) { v.Lock.Value.Holders = rebooting(Acting, "a") }, ComingBack, nil},
		"back: scripts":        {nil, func(v *View) { v.Lock.Value.Holders = rebooting(Acting, "a") }, RunAfter, nil},
		"back: a script failed": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "a")
			v.Receipts[ScriptsKey(ScriptsAfter)] = Receipt{Ended: t0, Failures: 1, Detail: "7"}
		}, ScriptFailed, nil},
		"back: a pause":             {func(c *Config) { c.Reboot.PauseBetween = time.Minute }, back, PauseBetween, nil},
		"back: no pause for leaver": {func(c *Config) { c.Reboot.PauseBetween = time.Minute }, func(v *View) { back(v); v.Lock.Value.Leaving = []Waiter{{Instance: "i-2"}} }, RebootDone, giveBack},
		"back: done":                {nil, back, RebootDone, giveBack},
		"back: the client's word":   {nil, func(v *View) { back(v); v.Lock.Value.Holders[0].Reason = HoldFleetLock }, AwaitSteady, nil},
		"an operator's, rebooted":   {nil, func(v *View) { back(v); v.Lock.Value.Holders[0].Reason = HoldOperator }, HeldForOperator, nil},
		"a client's, this boot": {nil, func(v *View) {
			v.Lock.Value.Holders = rebooting(Acting, "b")
			v.Lock.Value.Holders[0].Reason = HoldFleetLock
		}, HeldForClient, nil},
		"an order that is done": {nil, func(v *View) { v.Record.Reboot = &RebootOrder{Boot: "a"} }, NoteReboot, WriteRecord{Why: "NoteReboot", Record: Record{Instance: "i-1", Member: 1, Cluster: 9, Ran: true}}},
		"a want that is over": {nil, func(v *View) {
			v.Record.Rebooted = &Rebooted{Boot: "a", For: []string{"update-engine"}}
			v.Wants[WantUpdateEngine] = Observed(Want{}, t0)
		}, NoteReboot, WriteRecord{Why: "NoteReboot", Record: Record{Instance: "i-1", Member: 1, Cluster: 9, Ran: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, v := DefaultConfig(), updated()
			cfg.Reboot.UserGrace = 0
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			c.with(&v)
			ver := reboot(look(cfg, State{}, &v))
			if ver.Reason != c.reason {
				t.Errorf("says %s (%s), want %s", ver.Reason, ver.Detail, c.reason)
			}
			if d := cmp.Diff(c.action, ver.Action); d != "" {
				t.Errorf("action (-want +got):\n%s", d)
			}
		})
	}
}

// two leaves two voters, in a group that wants two.
func two(v *View) {
	v.Members.Value.Members, v.Group.Value.Desired = v.Members.Value.Members[:2], 2
}

func lead(v *View, id MemberID) {
	for i, h := range v.Health {
		h.Value.Leader = id
		v.Health[i] = h
	}
}

// back is a node that rebooted, whose scripts are done.
func back(v *View) {
	v.Lock.Value.Holders = rebooting(Acting, "a")
	v.Receipts[ScriptsKey(ScriptsAfter)] = Receipt{Ended: t0, Succeeded: t0, Detail: "7"}
}

// A client is granted the slot straight into acting only by what was seen of the
// members since nobody else could have held it.
func TestGrantNeedsFactsSinceClear(t *testing.T) {
	v := steady()
	lead(&v, 2)
	v.Lock.Value.Turn = 3
	v.Requests = []Request{{ID: "1", Kind: PreReboot, Client: "z", Group: "g"}}
	grant := TakeSlot{Answers: "1", Take: Take{Reason: HoldFleetLock, Phase: Acting, Member: 1, Cluster: 9, Client: "z", Turn: 3}}
	now := v.Now
	step := func(s State, want Action) State {
		t.Helper()
		s, d := Next(DefaultConfig(), s, v)
		if diff := cmp.Diff(want, d.Action); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", v.Now.Sub(now), diff)
		}
		return s
	}
	observe := func() {
		v.Now = v.Now.Add(100 * time.Millisecond)
		v.Lock.At, v.Members.At = v.Now, v.Now
		for id, h := range v.Health {
			h.At = v.Now
			v.Health[id] = h
		}
	}
	// The first look is at the lock and the members at once: what was before is not known.
	v.Now = v.Now.Add(time.Millisecond)
	s := step(State{}, nil)
	observe()
	s = step(s, grant)
	// Somebody took and gave back a slot in between.
	v.Lock.Value.Turn, grant.Take.Turn = 4, 4
	v.Now = v.Now.Add(time.Millisecond)
	s = step(s, nil)
	observe()
	s = step(s, grant)
	// Its own hold changes nothing: nobody else can have held it.
	v.Lock.Value.Turn = 5
	v.Lock.Value.Holders = []Hold{{Instance: "i-1", Boot: "b", Member: 1, Cluster: 9, Reason: HoldFleetLock, Phase: Acting, Client: "z", Revision: 5}}
	s = step(s, AnswerRequest{ID: "1", OK: true, Answer: "the lock is held since 0001-01-01 00:00:00"})
	v.Lock.Value.Holders, grant.Take.Turn = nil, 5
	step(s, grant)
}

// A client is granted a reboot when its node's member does not lead and the others
// follow the one that does: what reboots the node then asks nobody again.
func TestGrantHandsOver(t *testing.T) {
	for name, c := range map[string]struct {
		leaders [3]MemberID // whom each member follows
		held    []Hold      // by this node, for this client
		reason  Reason
		action  Action
	}{
		"it leads":            {[3]MemberID{1, 1, 1}, nil, HandOver, MoveLeader{To: 2}},
		"it leads, held":      {[3]MemberID{1, 1, 1}, rebooting(Granted, "b"), HandOver, MoveLeader{To: 2}},
		"one follows it yet":  {[3]MemberID{2, 2, 1}, nil, LeaderUnsettled, nil},
		"one has none":        {[3]MemberID{2, 2, 0}, rebooting(Granted, "b"), LeaderUnsettled, nil},
		"another leads":       {[3]MemberID{2, 2, 2}, nil, GrantLock, TakeSlot{Answers: "1", Take: Take{Reason: HoldFleetLock, Phase: Acting, Member: 1, Cluster: 9, Client: "z", Turn: 3}}},
		"another leads, held": {[3]MemberID{3, 3, 3}, rebooting(Granted, "b"), GrantLock, MarkActing{Revision: 7, Answers: "1"}},
		// It was granted before and asks again: leadership may have come back since.
		"it leads, granted before":          {[3]MemberID{1, 1, 1}, rebooting(Acting, "b"), HandOver, MoveLeader{To: 2}},
		"another leads, granted before":     {[3]MemberID{2, 2, 2}, rebooting(Acting, "b"), RequestDone, AnswerRequest{ID: "1", OK: true, Answer: "the lock is held since 0001-01-01 00:00:00"}},
		"it leads, in the last boot":        {[3]MemberID{1, 1, 1}, rebooting(Acting, "a"), HandOver, MoveLeader{To: 2}},
		"one follows it, in the last boot":  {[3]MemberID{2, 2, 1}, rebooting(Acting, "a"), LeaderUnsettled, nil},
		"another leads, from the last boot": {[3]MemberID{2, 2, 2}, rebooting(Acting, "a"), GrantLock, TakeSlot{Answers: "1", Take: Take{Reason: HoldFleetLock, Phase: Acting, Member: 1, Cluster: 9, Client: "z", Turn: 3, Revision: 7}}},
	} {
		t.Run(name, func(t *testing.T) {
			v := updated()
			v.Wants = nil
			v.Requests = []Request{{ID: "1", Kind: PreReboot, Client: "z", Group: "g"}}
			for i, to := range c.leaders {
				h := v.Health[MemberID(i+1)]
				h.Value.Leader = to
				v.Health[MemberID(i+1)] = h
			}
			for i := range c.held {
				c.held[i].Reason, c.held[i].Client = HoldFleetLock, "z"
			}
			v.Lock.Value.Holders = c.held
			p := look(DefaultConfig(), State{ClearSince: t0.Add(-time.Minute), ClearTurn: 3}, &v)
			ver := requests(p)
			if d := cmp.Diff(c.action, ver.Action); ver.Reason != c.reason || d != "" {
				t.Errorf("says %s (%s), want %s; action (-want +got):\n%s", ver.Reason, ver.Detail, c.reason, d)
			}
		})
	}
}

// What runs before a reboot runs under a client's slot, before it is granted: also while the
// client is away, and not a second time under the same hold.
func TestScriptsBeforeGrant(t *testing.T) {
	v := updated()
	v.Wants = nil
	for id, h := range v.Health {
		h.Value.Leader = 2
		v.Health[id] = h
	}
	asks := []Request{{ID: "1", Kind: PreReboot, Client: "z", Group: "g", Scripts: true}}
	s := State{ClearSince: t0.Add(-time.Minute), ClearTurn: 3}
	run := func(rev int64) Duty { return RunScripts{When: ScriptsBefore, Revision: rev} }
	step := func(what string, c Concern, reason Reason, action Action, duty Duty) {
		t.Helper()
		var d Decision
		s, d = Next(DefaultConfig(), s, v)
		if diff := cmp.Diff(action, d.Action); d.Verdicts[c].Reason != reason || diff != "" {
			t.Fatalf("%s: %s (%s), want %s; action (-want +got):\n%s", what, d.Verdicts[c].Reason, d.Verdicts[c].Detail, reason, diff)
		}
		if got := slices.ContainsFunc(d.Duties, func(d Duty) bool { _, ok := d.(RunScripts); return ok }); got != (duty != nil) ||
			duty != nil && !slices.Contains(d.Duties, duty) {
			t.Fatalf("%s: duties %v, want %v", what, d.Duties, duty)
		}
	}
	v.Requests = asks
	step("asked", ConcernRequest, TakeLock, TakeSlot{Take: Take{Reason: HoldFleetLock, Phase: Granted, Member: 1, Cluster: 9, Client: "z", Turn: 3}}, nil)
	v.Lock.Value.Holders = rebooting(Granted, "b")
	v.Lock.Value.Holders[0].Reason, v.Lock.Value.Holders[0].Client = HoldFleetLock, "z"
	v.Requests = nil
	step("nobody asks yet", ConcernReboot, PlaceKept, nil, nil)
	v.Requests = asks
	step("granted", ConcernRequest, RunBefore, nil, run(7))
	v.Requests = nil
	step("the client is away", ConcernReboot, RunBefore, nil, run(7))
	key := ScriptsKey(ScriptsBefore)
	v.Receipts[key] = Receipt{Ended: t0, Succeeded: t0, Detail: "7"}
	step("they have run", ConcernReboot, PlaceKept, nil, nil)
	v.Requests = asks
	step("asked again", ConcernRequest, GrantLock, MarkActing{Revision: 7, Answers: "1"}, nil)

	// They fail: the client is told, and the slot is for others, until a while later.
	v.Receipts[key] = Receipt{Ended: t0, Failures: 1, LastErr: "drain: exit status 1"}
	step("failed", ConcernRequest, ScriptFailed, AnswerRequest{ID: "1", Reason: ScriptFailed, Answer: "drain: exit status 1"}, nil)
	v.Requests = nil
	step("failed, the client is away", ConcernReboot, GiveBackLock, ReleaseHold{Instance: "i-1", Revision: 7}, nil)
	v.Lock.Value.Holders = nil
	step("it is not taken again", ConcernReboot, ScriptFailed, nil, nil)
}

// A client that says steady-state while its hold is one for leaving is done with it: when
// the node stays after all, the hold is given back and not made the client's again.
func TestSteadyStateWhileLeaving(t *testing.T) {
	v := told()
	v.Lock.Value.Holders = rebooting(Acting, "b")
	v.Lock.Value.Holders[0].Reason, v.Lock.Value.Holders[0].Client = HoldLeaving, "z"
	v.Requests = []Request{{ID: "1", Kind: SteadyState, Client: "y", Group: "g"}}
	cfg := DefaultConfig()
	if _, d := Next(cfg, State{}, v); d.Verdicts[ConcernRequest].Reason != RequestDone {
		t.Errorf("another client is told %s", d.Verdicts[ConcernRequest].Reason)
	}
	v.Requests[0].Client = "z"
	_, d := Next(cfg, State{}, v)
	want := TakeSlot{Answers: "1", Take: Take{Reason: HoldLeaving, Phase: Acting, Member: 1, Cluster: 9, Why: "update-engine: 2.0", Revision: 7}}
	if diff := cmp.Diff(Action(want), d.Action); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	v = steady()
	v.Lock.Value.Holders = rebooting(Acting, "b")
	v.Lock.Value.Holders[0].Reason = HoldLeaving
	v.Login = Observed(Login{}, t0)
	if _, d := Next(cfg, State{}, v); d.Verdicts[ConcernLeave].Reason != GiveBackLock {
		t.Errorf("told to stay it says %s", d.Verdicts[ConcernLeave].Reason)
	}
}

// A worker has no member: its own group's lock, and EC2's word on holders that are gone.
func TestWorker(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Role, cfg.LockGroup = RoleWorker, "web"
	worker := func() View {
		v := updated()
		v.Record = Record{Instance: "i-1"}
		v.Unit, v.Data = Fact[Unit]{}, Fact[Data]{}
		v.Health = nil
		v.Lock.Value.Group = "web"
		return v
	}
	for name, c := range map[string]struct {
		with   func(*View)
		action Action
		reason map[Concern]Reason
	}{
		"takes": {func(*View) {}, TakeSlot{Take: Take{Reason: HoldRebooting, Phase: Granted, Cluster: 9, Why: "update-engine: 2.0", Turn: 3}},
			map[Concern]Reason{ConcernJoin: Worker, ConcernReboot: TakeLock, ConcernLeave: NotLeaving, ConcernSteward: NotSteward}},
		"another slot is held": {func(v *View) { v.Lock.Value.Slots = 2; v.Lock.Value.Holders = []Hold{{Instance: "i-2"}} },
			TakeSlot{Take: Take{Reason: HoldRebooting, Phase: Granted, Cluster: 9, Why: "update-engine: 2.0", Turn: 3}}, nil},
		"fewer slots than holders": {func(v *View) { v.Lock.Value.Holders = []Hold{{Instance: "i-2"}, {Instance: "i-3", Slot: 1}} },
			nil, map[Concern]Reason{ConcernReboot: AwaitLock}},
		"the holder is gone": {func(v *View) {
			v.Lock.Value.Holders = []Hold{{Instance: "i-9", Reason: HoldRebooting, Phase: Acting, Revision: 7}}
			v.Lock.Value.Queue = []Waiter{{Instance: "i-1"}}
			v.Instances = Observed(map[InstanceID]Instance{"i-9": {State: InstanceTerminated}}, t0)
		}, ReleaseHold{Instance: "i-9", Revision: 7}, map[Concern]Reason{ConcernReboot: EvictHold}},
		"the holder is stopped": {func(v *View) {
			v.Lock.Value.Holders = []Hold{{Instance: "i-9", Reason: HoldRebooting, Phase: Acting, Revision: 7}}
			v.Lock.Value.Queue = []Waiter{{Instance: "i-1"}}
			v.Instances = Observed(map[InstanceID]Instance{"i-9": {State: InstanceStopped}}, t0)
		}, nil, map[Concern]Reason{ConcernReboot: AwaitLock}},
		"told to go": {func(v *View) {
			v.Lifecycle.Value = TargetTerminated
			v.Record.Leaving = &Leaving{Since: t0.Add(-time.Minute)}
			v.Group.Value.Instances[0].State = StateTerminatingWait
		}, CompleteHook{Hook: "out", Result: Continue}, map[Concern]Reason{ConcernLeave: NothingToLeave, ConcernReboot: LeavingFirst}},
		"told to go with a hold": {func(v *View) {
			v.Lifecycle.Value = TargetTerminated
			v.Record.Leaving = &Leaving{Since: t0.Add(-time.Minute)}
			v.Group.Value.Instances[0].State = StateTerminatingWait
			v.Lock.Value.Holders = rebooting(Acting, "b")
		}, ReleaseHold{Instance: "i-1", Revision: 7}, map[Concern]Reason{ConcernLeave: GiveBackLock}},
		"launching": {func(v *View) { v.Wants = nil; v.Group.Value.Instances[0].State = StatePendingWait },
			CompleteHook{Hook: "in", Result: Continue}, map[Concern]Reason{ConcernJoin: CompleteLaunch}},
		"a client of another group": {func(v *View) {
			v.Wants = nil
			v.Requests = []Request{{ID: "1", Kind: PreReboot, Client: "z", Group: "db"}}
		},
			AnswerRequest{ID: "1", Reason: WrongGroup, Answer: `this node is in reboot group "web", not in "db"`}, nil},
		"a client of its group": {func(v *View) {
			v.Wants = nil
			v.Requests = []Request{{ID: "1", Kind: PreReboot, Client: "z", Group: "web"}}
		},
			TakeSlot{Answers: "1", Take: Take{Reason: HoldFleetLock, Phase: Acting, Cluster: 9, Client: "z", Turn: 3}}, nil},
		"slots": {func(v *View) { v.Wants = nil; v.Requests = []Request{{ID: "1", Kind: LockSlots, Slots: 3}} },
			SetSlots{Slots: 3, Answers: "1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := worker()
			c.with(&v)
			_, d := Next(cfg, State{}, v)
			if diff := cmp.Diff(c.action, d.Action); diff != "" {
				t.Errorf("action (-want +got):\n%s", diff)
			}
			for concern, want := range c.reason {
				if got := d.Verdicts[concern]; got.Reason != want {
					t.Errorf("%s says %s (%s), want %s", concern, got.Reason, got.Detail, want)
				}
			}
		})
	}
}

// Told to go in the middle of a reboot, the hold changes its reason, and stays acting.
func TestLeaveConvertsTheHold(t *testing.T) {
	for _, phase := range []HoldPhase{Granted, Acting} {
		v := told()
		v.Lock.Value.Holders = rebooting(phase, "b")
		_, d := Next(DefaultConfig(), State{}, v)
		want := TakeSlot{Take: Take{Reason: HoldLeaving, Phase: phase, Member: 1, Cluster: 9, Why: "update-engine: 2.0", Revision: 7}}
		if diff := cmp.Diff(Action(want), d.Action); diff != "" {
			t.Errorf("%s (-want +got):\n%s", phase, diff)
		}
	}
}

// The steward evicts the hold of a reboot on EC2's proof and nothing else.
func TestEvictOfReboots(t *testing.T) {
	for state, want := range map[InstanceState]Reason{InstanceTerminated: EvictHold, InstanceStopped: AllWell, InstanceShuttingDown: AllWell, InstanceNotFound: AllWell} {
		v := steady()
		v.Lock.Value.Holders = []Hold{{Instance: "i-9", Member: 5, Cluster: 9, Reason: HoldRebooting, Phase: Acting, Revision: 7, Since: t0.Add(-48 * time.Hour)}}
		v.Instances = Observed(map[InstanceID]Instance{"i-9": {State: state}}, t0)
		_, d := Next(DefaultConfig(), State{}, v)
		if got := d.Verdicts[ConcernSteward].Reason; got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
}

// Whom the agent kept a place for before it restarted keeps it: another client of the node
// has to wait, and the place is held on to. One that the machine's last boot left, or that is
// seen only later, is nobody's.
func TestPlaceOutlivesTheAgent(t *testing.T) {
	place := Waiter{Instance: "i-1", Reason: HoldFleetLock, Boot: "b", Client: "a"}
	v := updated()
	v.Wants, v.Started = nil, t0.Add(-time.Second)
	v.Lock.Value.Holders = []Hold{{Instance: "i-2", Boot: "x", Member: 2, Cluster: 9, Reason: HoldRebooting, Phase: Acting, Revision: 7}}
	none := v
	v.Lock.Value.Queue = []Waiter{place, {Instance: "i-3"}}
	v.Requests = []Request{{ID: "1", Kind: PreReboot, Client: "b"}}
	st, d := Next(DefaultConfig(), State{}, v)
	if !slices.Contains(d.Duties, Duty(KeepQueued{Reason: HoldFleetLock, Client: "a"})) {
		t.Errorf("duties %v", d.Duties)
	}
	if ans, _ := d.Action.(AnswerRequest); ans.Reason != OtherClient {
		t.Errorf("%v, want %s", d.Action, OtherClient)
	}
	v.Now = v.Started.Add(placeKept)
	v.Requests = nil
	if _, d := at(v.Now, st, v); hasDuty[KeepQueued](d) {
		t.Errorf("kept for ever: %v", d.Duties)
	}

	st, _ = Next(DefaultConfig(), State{}, none)
	v.Now = t0
	if _, d := Next(DefaultConfig(), st, v); hasDuty[KeepQueued](d) {
		t.Errorf("seen later: %v", d.Duties)
	}
	v.Lock.Value.Queue[0].Boot = "before"
	if _, d := Next(DefaultConfig(), State{}, v); hasDuty[KeepQueued](d) {
		t.Errorf("of the boot before: %v", d.Duties)
	}
}
