package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

// report writes one look as people read it.
func (u *ui) report(r report) error {
	u.summary(r)
	fmt.Fprintln(u.out)
	if err := table(u.out, []string{"NODE", "MEMBER", "STATE", "HEALTH", "LEADER", "PHASE", "REBOOT"}, r.nodes()); err != nil {
		return err
	}
	for _, o := range r.Others {
		if o.Error != "" {
			fmt.Fprintf(u.out, "%s: the agent of %s: %s\n", u.paint(red, "no answer"), clean(o.Instance), clean(o.Error))
		}
	}
	fmt.Fprintln(u.out)
	var rows [][]string
	for _, v := range r.Self.Decision.Concerns {
		rows = append(rows, []string{v.Concern, v.Reason, v.Detail})
	}
	if err := table(u.out, []string{"CONCERN", "REASON", "DETAIL"}, rows); err != nil {
		return err
	}
	for _, w := range r.Self.Decision.Warnings {
		fmt.Fprintf(u.out, "%s: %s: %s\n", u.paint(red, "warning"), clean(w.Name), clean(w.Detail))
	}
	u.receipts(r.Self)
	fmt.Fprintln(u.out)
	u.lock(r.Self)
	fmt.Fprintln(u.out)
	return table(u.out, []string{"FACT", "AGE", "PROBLEM"}, facts(r.Self))
}

// summary is the node itself, its group and its pass.
func (u *ui) summary(r report) {
	s := r.Self
	if r.Warning != "" {
		fmt.Fprintf(u.out, "%s: %s\n", u.paint(red, "warning"), clean(r.Warning))
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(u.out, "%s %s\n", u.paint(bold, fmt.Sprintf("%-8s", name)), clean(fmt.Sprintf(format, args...)))
	}
	line("node", "%s, %s, quorumd %s", s.Instance, orUnknown(s.OS), orUnknown(s.Quorumd))
	line("etcd", "%s, unit %s, %s", orUnknown(s.Etcd.Version), unitWord(s.Etcd.Unit), data(s.HasData))
	if g := s.Group; g != nil {
		line("group", "%s, %d wanted, tag %s", g.Name, g.Desired, cmp.Or(g.ClusterTag, "not set"))
	} else {
		line("group", "not known yet")
	}
	line("wanted", "%s, is %s", targetWord(s), cmp.Or(s.Lifecycle.State, "not in the group"))
	if s.Lifecycle.SpotTime != nil {
		line("spot", "%s at %s", s.Lifecycle.SpotAction, s.Lifecycle.SpotTime.Format(time.RFC3339))
	}
	steward := ""
	if s.Decision.Steward {
		steward = ", steward of the cluster"
	}
	line("pass", "#%d, %s ago%s", s.Decision.Sequence, seconds(s.AgeSeconds), steward)
	line("action", "%s", actionWord(s))
}

func targetWord(s peer.Status) string {
	if f := s.Fact(peer.FactLifecycle); !f.Known() {
		return "unknown"
	}
	return cmp.Or(s.Lifecycle.Target, "nothing said")
}

func actionWord(s peer.Status) string {
	d := s.Decision
	switch {
	case d.InFlight != nil && d.Action == "":
		return fmt.Sprintf("%s, under way since %s", d.InFlight.Action, d.InFlight.Started.Format(time.TimeOnly))
	case d.Action != "":
		return fmt.Sprintf("%s, for %s: %s", d.Action, d.Concern, s.Reason(d.Concern))
	}
	return "none"
}

func unitWord(u *peer.Unit) string {
	if u == nil {
		return "unknown"
	}
	if u.Load == "not-found" {
		return "missing"
	}
	return u.Active + " (" + u.Sub + ")"
}

func data(has *bool) string {
	switch {
	case has == nil:
		return "data unknown"
	case *has:
		return "has data"
	}
	return "no data"
}

// receipts lists what failed of late.
func (u *ui) receipts(s peer.Status) {
	for _, r := range s.Decision.Receipts {
		if r.Failures > 0 {
			fmt.Fprintf(u.out, "%s: %s, %d in a row: %s\n", u.paint(red, "failing"), clean(r.Key), r.Failures, clean(r.Error))
		}
	}
}

func (u *ui) lock(s peer.Status) {
	if s.Lock == nil {
		fmt.Fprintf(u.out, "%s not known\n", u.paint(bold, "lock    "))
		return
	}
	words := []string{}
	for _, h := range s.Lock.Holders {
		one := fmt.Sprintf("held by %s (%s, %s) since %s, for %s", h.Instance, h.Reason, h.Phase, h.Since.UTC().Format(time.RFC3339), ageOf(h.Since))
		if why := strings.TrimSpace(h.Client + " " + h.Why); why != "" {
			one += ": " + why
		}
		words = append(words, one)
	}
	if len(words) == 0 {
		words = append(words, "free")
	}
	if len(s.Lock.Leaving) > 0 {
		words = append(words, "leaving queue: "+waiters(s.Lock.Leaving))
	}
	if len(s.Lock.Queue) > 0 {
		words = append(words, "queue: "+waiters(s.Lock.Queue))
	}
	fmt.Fprintf(u.out, "%s %s\n", u.paint(bold, "lock    "), clean(strings.Join(words, "; ")))
}

// facts lists the age of everything observed, as old as it is now.
func facts(s peer.Status) [][]string {
	var rows [][]string
	for _, f := range s.Facts {
		age := "never"
		if f.Observed {
			age = seconds(f.AgeSeconds + s.AgeSeconds)
		}
		rows = append(rows, []string{f.Name, age, f.Error})
	}
	return rows
}

// nodes is a row for each instance and each member: this node, those of the group,
// members of whom nobody knows the instance.
func (r report) nodes() [][]string {
	s := r.Self
	states := map[string]string{}
	order := []string{s.Instance}
	add := func(id string) {
		if _, ok := states[id]; !ok && id != "" && id != s.Instance {
			order = append(order, id)
			states[id] = ""
		}
	}
	if s.Group != nil {
		for _, i := range s.Group.Instances {
			add(i.ID)
			states[i.ID] = i.State
		}
	}
	members := map[string]peer.Member{}
	var strangers []peer.Member
	if s.Members != nil {
		for _, m := range s.Members.List {
			if m.Instance == "" {
				strangers = append(strangers, m)
				continue
			}
			add(m.Instance)
			members[m.Instance] = m
		}
	}
	for _, o := range r.Others {
		add(o.Instance)
	}
	var rows [][]string
	for _, id := range order {
		m, isMember := members[id]
		rows = append(rows, r.node(id, states[id], m, isMember))
	}
	for _, m := range strangers {
		rows = append(rows, r.node("?", "", m, true))
	}
	return rows
}

func (r report) node(id, state string, m peer.Member, isMember bool) []string {
	row := []string{id, "", state, "", "", r.phase(id), r.reboot(id)}
	if id == r.Self.Instance {
		row[0] += " *"
	}
	if !isMember {
		return row
	}
	row[1], row[3] = m.ID.String(), health(m, r.pulse(id))
	if m.Learner {
		row[1] += " (learner)"
	}
	if m.ID != 0 && m.ID == r.leader() {
		row[4] = "yes"
	}
	return row
}

// leader is who leads, by the member with the highest term.
func (r report) leader() peer.ID {
	var leader peer.ID
	var term uint64
	if r.Self.Members == nil {
		return 0
	}
	for _, m := range r.Self.Members.List {
		if h := m.Health; h != nil && h.Leader != 0 && h.Term >= term {
			leader, term = h.Leader, h.Term
		}
	}
	return leader
}

// status is what an instance's own agent says, nil where it was not heard.
func (r report) status(id string) *peer.Status {
	if id == r.Self.Instance {
		return &r.Self
	}
	for _, o := range r.Others {
		if o.Instance == id {
			return o.Status
		}
	}
	return nil
}

// pulse is what an instance's own agent sees of its etcd without a quorum, nil where it
// does not tell.
func (r report) pulse(id string) *peer.Pulse {
	if s := r.status(id); s != nil {
		return s.Etcd.Pulse
	}
	return nil
}

// health is a member's health in a word or two. Its own agent also tells of an etcd that
// was started without a quorum: it serves no clients, and knows no leader.
func health(m peer.Member, p *peer.Pulse) string {
	h := m.Health
	if p != nil && p.Knows == string(policy.LeaderNone) && (h == nil || !h.Serves) {
		return "no leader"
	}
	switch {
	case h == nil && !m.Started:
		return "not started"
	case h == nil:
		return "unknown"
	case len(h.Alarms) > 0:
		return strings.Join(h.Alarms, "+")
	case !h.Serves && h.Learner:
		return "learning"
	case !h.Serves:
		return "not serving"
	}
	return "healthy"
}

// reboot is why an instance does not reboot, by its own agent's word; empty where
// nobody wants it to.
func (r report) reboot(id string) string {
	s := r.status(id)
	if s == nil {
		return ""
	}
	switch reason := s.Reason(string(policy.ConcernReboot)); reason {
	case string(policy.Idle), string(policy.RebootNotWanted):
		return ""
	default:
		return reason
	}
}

// phase is where an instance's own agent says it is.
func (r report) phase(id string) string {
	if s := r.status(id); s != nil {
		return phase(*s)
	}
	return "unknown"
}

// phase is the reason that matters most: its step in an open plan to restart a stuck
// etcd, that of leaving for a node that leaves, else that of joining, which also tells that it has joined.
func phase(s peer.Status) string {
	if step := electionStep(&s); step != "" {
		return step
	}
	leave := s.Reason(string(policy.ConcernLeave))
	switch policy.Reason(leave) {
	case "", policy.Idle, policy.NotLeaving, policy.LifecycleUnknown:
		return orUnknown(s.Reason(string(policy.ConcernJoin)))
	}
	return leave
}

// line is one look in one line, for --watch where there is no terminal.
func (r report) line() string {
	s := r.Self
	healthy, voters := 0, 0
	if s.Members != nil {
		for _, m := range s.Members.List {
			if m.Learner {
				continue
			}
			voters++
			if m.Health != nil && m.Health.Serves {
				healthy++
			}
		}
	}
	var reasons []string
	for _, v := range s.Decision.Concerns {
		reasons = append(reasons, v.Concern+"="+v.Reason)
	}
	return fmt.Sprintf("%s node=%s pass=%d action=%s %s healthy=%d/%d leader=%s",
		s.Decision.Time.Format(time.RFC3339), s.Instance, s.Decision.Sequence, cmp.Or(s.Decision.Action, "none"),
		strings.Join(reasons, " "), healthy, voters, r.leader())
}

// seconds is a span in the precision people want: 0.4s, 12s, 3m20s.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
