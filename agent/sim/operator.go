package sim

import (
	"fmt"
	"slices"
	"strconv"
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
				m.agent.submit(policy.Request{Kind: policy.FreshStart}, requestTimeout, func(ans policy.AnswerRequest, ok bool) {
					if granted[m.id] = ok && ans.OK; granted[m.id] && m.agent != nil {
						m.agent.fresh()
					}
				})
				break
			}
		}
		w.after(2*time.Minute, ask)
	}
	ask()
}

// submit is what the control socket and the FleetLock server do: it hands a request
// to policy, and takes it back when no answer came in time. then hears what came of
// it; nil: nobody wants to know.
func (a *agent) submit(r policy.Request, patience time.Duration, then func(ans policy.AnswerRequest, ok bool)) {
	a.asked++
	r.ID = strconv.Itoa(a.asked)
	a.say("asked for %s", r.Kind)
	if then == nil {
		then = func(policy.AnswerRequest, bool) {}
	}
	if a.ask != nil {
		a.ask(r, then)
		return
	}
	a.answers[r.ID] = then
	a.view.Requests = append(slices.Clone(a.view.Requests), r)
	a.poke()
	a.w.after(patience, func() {
		if a.alive {
			a.answered(policy.AnswerRequest{ID: r.ID}, false)
			a.poke()
		} else if f := a.answers[r.ID]; f != nil {
			delete(a.answers, r.ID)
			f(policy.AnswerRequest{}, false)
		}
	})
}

// answered ends a request, if it still waits.
func (a *agent) answered(ans policy.AnswerRequest, ok bool) {
	f := a.answers[ans.ID]
	if f == nil {
		return
	}
	delete(a.answers, ans.ID)
	a.view.Requests = slices.DeleteFunc(slices.Clone(a.view.Requests), func(r policy.Request) bool { return r.ID == ans.ID })
	a.say("answer %s: ok %t, %s %s", ans.ID, ok && ans.OK, ans.Reason, ans.Answer)
	f(ans, ok)
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
		leave, join := a.said[2], a.said[4]
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
