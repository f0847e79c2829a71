package sim

import (
	"maps"

	"github.com/quorumd/quorumd/agent/policy"
)

// electionVariants are broken policies of elections.
func electionVariants() []Variant {
	return []Variant{
		{Name: "etcd restarted by one's own word", Invariant: MajorityWord, Decide: restartAlone},
		{Name: "words of a leader not believed", Invariant: NeverWhileLed, View: nobodyLeads},
		{Name: "etcd left stopped", Invariant: StartedAgain, Decide: leaveStopped},
		{Name: "etcd started in the middle of its restart", Invariant: StartedOnce, View: forgetJobs},
		{Name: "attempts not counted", Invariant: AttemptsBounded, View: forgetAttempts},
	}
}

// restartAlone restarts etcd as soon as it says that it has no leader.
func restartAlone(_ policy.Config, v policy.View, d *policy.Decision) {
	f := v.Pulse
	if v.InFlight != nil || !f.Known() || f.Value.Leader != policy.LeaderNone || !v.Unit.Known() || v.Unit.Value.Down() || v.Record.Member == 0 ||
		v.Receipts[policy.RestartEtcd{}.Key()].Done() {
		return
	}
	act(d, policy.RestartEtcd{}, policy.ConcernElection, policy.RestartStuck)
}

// nobodyLeads takes everybody's leader for none.
func nobodyLeads(_ policy.Config, v *policy.View) {
	none := func(p policy.Pulse) policy.Pulse {
		p.Leader, p.LeaderID, p.Serves = policy.LeaderNone, 0, false
		return p
	}
	v.Pulse.Value = none(v.Pulse.Value)
	v.Peers = maps.Clone(v.Peers)
	for id, f := range v.Peers {
		f.Value.Etcd.Pulse = none(f.Value.Etcd.Pulse)
		v.Peers[id] = f
	}
	v.Health = nil
	if v.Record.Member != 0 && v.Members.Ever() {
		v.Members.Err = "not believed"
	}
}

// leaveStopped never starts again what a plan stopped.
func leaveStopped(_ policy.Config, v policy.View, d *policy.Decision) {
	if _, start := d.Action.(policy.StartEtcd); start && v.Record.Election != nil {
		d.Action = nil
	}
}

// forgetJobs does not know what systemd is about to do.
func forgetJobs(_ policy.Config, v *policy.View) { v.Unit.Value.Job = false }

// forgetAttempts forgets a plan as soon as it is over.
func forgetAttempts(_ policy.Config, v *policy.View) {
	if e := v.Record.Election; e != nil && !e.Open() {
		v.Record.Election = nil
	}
}
