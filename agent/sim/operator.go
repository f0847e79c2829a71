package sim

import (
	"fmt"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// requestTimeout is how long an operator waits for an answer (package agent,
// request.go); the request is then taken back.
const requestTimeout = time.Minute

// operator is somebody who asks for a fresh start, node after node, whether it
// makes sense or not: agents must grant it only where nothing is left of the old
// cluster. Whoever granted it is not asked again.
func (w *world) operator() {
	granted := map[policy.InstanceID]bool{}
	was, round := len(w.clusters), 0
	var ask func()
	ask = func() {
		round++
		if len(w.clusters) > was || round > 40 {
			return
		}
		for _, m := range w.alive() {
			if m.agent != nil && !granted[m.id] {
				granted[m.id] = true
				m.agent.request(fmt.Sprint(round), func(ok bool) { granted[m.id] = ok })
				break
			}
		}
		w.after(2*time.Minute, ask)
	}
	ask()
}

// request is what the control socket does: it hands an operator's request to
// policy, and takes it back when no answer came in time.
func (a *agent) request(id string, answered func(ok bool)) {
	a.say("an operator asks for a fresh start")
	a.answer = answered
	a.view.Requests = []policy.Request{{ID: id, Kind: policy.FreshStart}}
	a.poke()
	a.w.after(requestTimeout, func() {
		if a.alive && len(a.view.Requests) > 0 && a.view.Requests[0].ID == id {
			a.view.Requests = nil
			answered(false)
			a.poke()
		}
	})
}

// fresh tells the checker that a fresh start is granted, and what is left.
func (a *agent) fresh() {
	e := Fresh{Instance: a.m.id}
	for _, m := range a.w.alive() {
		if !m.disk.data.empty() {
			e.Left = append(e.Left, m.id)
		}
	}
	a.w.tell(e)
}

// restless lists what is not as it should be where the majority is lost for good:
// nothing may go on there, and every agent must say why.
func (w *world) restless() []string {
	var out []string
	for _, m := range w.alive() {
		a := m.agent
		if a == nil {
			continue
		}
		for key, n := range a.calm {
			if n > 4 {
				out = append(out, fmt.Sprintf("%s did %s %d times", m.id, key, n))
			}
		}
		// A group whose launches all wait in their hook takes none of them out again
		// before the hook expires: no list can be agreed on until then.
		leave, join := a.said[1], a.said[3]
		unsettled := join == policy.GroupUnsettled && len(w.group.items) != w.group.desired
		if !waits(leave, join, m.disk.data.empty()) && !unsettled {
			out = append(out, fmt.Sprintf("%s (data %t) says %s, %s", m.id, !m.disk.data.empty(), leave, join))
		}
	}
	return out
}

// waits reports whether an agent gives the right reasons for sitting still.
func waits(leave, join policy.Reason, empty bool) bool {
	switch leave {
	case policy.MembershipUnknown:
		return true
	case policy.NotLeaving:
	default:
		return false
	}
	switch join {
	case policy.Starting:
		return true
	case policy.ClusterMissing:
		return empty
	}
	return false
}
