package policy

import (
	"testing"
	"time"
)

// TestShown: an action on the lock is done where a look at the lock says so, and nowhere else.
func TestShown(t *testing.T) {
	self := Self{Instance: "i-1", Boot: "b"}
	mine := Hold{Instance: "i-1", Boot: "b", Reason: HoldFleetLock, Phase: Acting, Client: "c", Revision: 7}
	as := func(f func(*Hold)) Lock {
		h := mine
		f(&h)
		return Lock{Revision: 8, Holders: []Hold{{Instance: "i-2", Slot: 1, Revision: 3}, h}}
	}
	is := as(func(*Hold) {})
	none := Lock{Revision: 8}
	take := TakeSlot{Take: Take{Reason: HoldFleetLock, Phase: Acting, Client: "c"}}
	convert := take
	convert.Take.Revision = 7
	for name, c := range map[string]struct {
		action Action
		lock   Lock
		want   bool
	}{
		"taken":                          {take, is, true},
		"not taken":                      {take, none, false},
		"taken by another boot":          {take, as(func(h *Hold) { h.Boot = "a" }), false},
		"taken for another client":       {take, as(func(h *Hold) { h.Client = "d" }), false},
		"taken in another phase":         {take, as(func(h *Hold) { h.Phase = Granted }), false},
		"taken for another reason":       {take, as(func(h *Hold) { h.Reason = HoldOperator }), false},
		"not converted yet":              {convert, is, false},
		"converted":                      {convert, as(func(h *Hold) { h.Revision = 8 }), true},
		"marked":                         {MarkActing{Revision: 6}, is, true},
		"not marked yet":                 {MarkActing{Revision: 7}, as(func(h *Hold) { h.Phase = Granted }), false},
		"marked, and gone":               {MarkActing{Revision: 6}, none, false},
		"released":                       {ReleaseHold{Revision: 7}, none, true},
		"released, and taken by others":  {ReleaseHold{Revision: 5}, is, true},
		"not released yet":               {ReleaseHold{Revision: 7}, is, false},
		"a look from before it was held": {ReleaseHold{Revision: 7}, Lock{Revision: 6}, false},
		"not an action on the lock":      {MoveLeader{To: 2}, is, false},
	} {
		if got := Shown(c.action, self, c.lock); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestSettled: after a transaction whose answer had the lock in it nothing is waited for; a
// granted hold is acted on only when the members were looked at since.
func TestSettled(t *testing.T) {
	for name, c := range map[string]struct {
		phase HoldPhase
		shown bool
		want  Reason
	}{
		"into acting, shown":     {Acting, true, RequestDone},
		"into acting, not shown": {Acting, false, HealthUnknown}, // thought over anew
		"granted, shown":         {Granted, true, Settling},
	} {
		v := steady()
		take := Take{Reason: HoldFleetLock, Phase: c.phase, Client: "c"}
		for id, h := range v.Health {
			h.Value.Leader = 2
			v.Health[id] = h
		}
		v.Last = LastAction{Action: TakeSlot{Take: take}, Ended: t0.Add(time.Millisecond)}
		v.Now = t0.Add(2 * time.Millisecond)
		v.Lock = Observed(Lock{Slots: 1, Revision: 7}, t0)
		if c.shown {
			v.Lock.Value.Holders = []Hold{{Instance: "i-1", Boot: "b", Member: 1, Cluster: 9, Reason: HoldFleetLock, Phase: c.phase, Client: "c", Revision: 7}}
		}
		v.Requests = []Request{{ID: "1", Kind: PreReboot, Client: "c"}}
		_, d := Next(DefaultConfig(), State{}, v)
		if got := d.Verdicts[ConcernRequest].Reason; got != c.want {
			t.Errorf("%s: %s (%s), want %s", name, got, d.Verdicts[ConcernRequest].Detail, c.want)
		}
	}
}
