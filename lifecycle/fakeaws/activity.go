package fakeaws

import (
	"slices"
	"time"
)

// Statuses of a scaling activity; the values are AWS's.
const (
	activityPreInService = "PreInService"
	activityMidHook      = "MidLifecycleAction"
	activityInProgress   = "InProgress"
	activitySuccessful   = "Successful"
	activityCancelled    = "Cancelled"
)

// maxActivities bounds the log; the oldest are dropped.
const maxActivities = 1000

// activity is one entry of DescribeScalingActivities. It keeps what it was before, for
// answers from the past. Guarded by Cloud.mu.
type activity struct {
	id, group, arn     string
	description, cause string
	zone               string
	start              time.Time
	steps              []activityStep // oldest first, never empty
}

type activityStep struct {
	at       time.Time
	status   string
	message  string
	progress int
}

// over reports whether nothing more comes of it.
func (a *activity) over() bool {
	s := a.steps[len(a.steps)-1].status
	return s == activitySuccessful || s == activityCancelled
}

func launchWords(pool bool) string {
	if pool {
		return "Launching a new EC2 instance into warm pool: "
	}
	return "Launching a new EC2 instance: "
}

// begin logs that the group does something with an instance. c.mu is held, as in all
// that follows.
func (c *Cloud) begin(m *machine, what, cause string) {
	now := c.now()
	a := &activity{id: uuid(c.ids.activities), group: m.Group, description: what + m.ID, zone: m.Zone, start: now,
		cause: "At " + now.UTC().Format("2006-01-02T15:04:05Z") + " " + cause + ".",
		steps: []activityStep{{at: now, status: activityInProgress, progress: 50}}}
	if g := c.groupOf(m); g != nil {
		a.arn = g.arn
	}
	if m.Lifecycle == m.phase(LifecyclePending) {
		a.steps[0].status, a.steps[0].progress = activityPreInService, 30
	}
	m.act = a
	if len(c.activities) >= maxActivities {
		c.activities = slices.Delete(c.activities, 0, len(c.activities)-maxActivities+1)
	}
	c.activities = append(c.activities, a)
}

// progress notes how far an instance's activity is.
func (c *Cloud) progress(m *machine, status string, percent int) {
	if m.act != nil && !m.act.over() {
		m.act.steps = append(m.act.steps, activityStep{at: c.now(), status: status, progress: percent})
	}
}

// finish ends an instance's activity, if it still lasts.
func (c *Cloud) finish(m *machine, status, message string) {
	if m.act == nil || m.act.over() {
		return
	}
	m.act.steps = append(m.act.steps, activityStep{at: c.now(), status: status, message: message, progress: 100})
}

// asOf is the activity as it was at one moment.
func (a *activity) asOf(at time.Time) xmlActivity {
	s := a.steps[0]
	for _, later := range a.steps {
		if !later.at.After(at) {
			s = later
		}
	}
	return a.as(s)
}

func (a *activity) as(s activityStep) xmlActivity {
	x := xmlActivity{ID: a.id, Group: a.group, ARN: a.arn, Description: a.description, Cause: a.cause,
		StartTime: timestamp(a.start), StatusCode: s.status, StatusMessage: s.message, Progress: s.progress,
		Details: `{"Availability Zone":"` + a.zone + `"}`}
	if s.status == activitySuccessful || s.status == activityCancelled {
		x.EndTime = timestamp(s.at)
	}
	return x
}

// lastActivities is what the group does now with instances, as it began: that is what AWS
// answers the calls that make it do something, however little time that takes.
func (c *Cloud) lastActivities(ids []string) members[xmlActivity] {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out members[xmlActivity]
	for _, id := range ids {
		if m := c.findInstance(id); m != nil && m.act != nil {
			out.add(m.act.as(m.act.steps[0]))
		}
	}
	return out
}

func (c *Cloud) describeActivities(req *request) (any, error) {
	limit, err := recordLimit(req, 100, 100)
	if err != nil {
		return nil, err
	}
	name, ids := req.form.Get("AutoScalingGroupName"), req.list("ActivityIds.member")
	if name != "" && c.see().group(name) == nil {
		return nil, noGroup(name)
	}
	c.mu.Lock()
	at := c.now().Add(-c.staleness)
	var all []xmlActivity
	for _, a := range slices.Backward(c.activities) {
		wanted := (name == "" || a.group == name || a.arn == name) && (len(ids) == 0 || slices.Contains(ids, a.id))
		if wanted && !a.start.After(at) {
			all = append(all, a.asOf(at))
		}
	}
	c.mu.Unlock()
	part, next, err := page(all, req.form.Get("NextToken"), limit)
	if err != nil {
		return nil, err
	}
	return struct {
		Activities members[xmlActivity]
		NextToken  string `xml:",omitempty"`
	}{members[xmlActivity]{part}, next}, nil
}
