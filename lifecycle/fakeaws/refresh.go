package fakeaws

import (
	"net/http"
	"slices"
	"time"
)

// Statuses of an instance refresh; the values are AWS's.
const (
	RefreshInProgress = "InProgress"
	RefreshSuccessful = "Successful"
	RefreshCancelling = "Cancelling"
	RefreshCancelled  = "Cancelled"
)

// RefreshConfig is what an instance refresh is asked for. The zero value is AWS's default.
type RefreshConfig struct {
	// MinHealthy and MaxHealthy are percentages of the desired capacity: as many are in service
	// at least, and in service or on their way at most. Above 100, instances are
	// launched before others are terminated. Default 90 and 100.
	MinHealthy, MaxHealthy *int
	// Warmup is how long a new instance is in service before it counts.
	Warmup time.Duration
	// SkipMatching leaves instances alone that run the group's launch template's version.
	SkipMatching bool
	// TemplateVersion, if set, is the group's from now on.
	TemplateVersion string
}

// Refresh is what is known of an instance refresh at one moment.
type Refresh struct {
	ID, Group  string
	Status     string
	Reason     string
	Start, End time.Time // End is zero until it is over
	Percent    int
	Remaining  int // instances that are still to be replaced
	MinHealthy int
	MaxHealthy int
	Warmup     time.Duration
	Skip       bool
}

// refresh is the Cloud's own record of one.
type refresh struct {
	Refresh
	old   []*machine // that are to be replaced, or were
	total int
}

func (r *refresh) active() bool {
	return r.Status == RefreshInProgress || r.Status == RefreshCancelling
}

// StartRefresh is StartInstanceRefresh; it returns the refresh's id.
func (c *Cloud) StartRefresh(name string, cfg RefreshConfig) (id string, err error) {
	lowest, highest := orElse(cfg.MinHealthy, 90), orElse(cfg.MaxHealthy, 100)
	switch {
	case cfg.MaxHealthy != nil && cfg.MinHealthy == nil:
		return "", invalid("MinHealthyPercentage must be specified if MaxHealthyPercentage is specified.")
	case lowest < 0 || lowest > 100 || highest < 100 || highest > 200 || highest-lowest > 100:
		return "", invalid("MinHealthyPercentage %d and MaxHealthyPercentage %d: the first must be between 0 and 100, the "+
			"second between 100 and 200, and the difference between them cannot be greater than 100.", lowest, highest)
	case cfg.Warmup < 0:
		return "", invalid("InstanceWarmup must not be negative")
	}
	err = c.changeGroup(name, func(g *group) error {
		if g.activeRefresh() != nil {
			return &Error{http.StatusBadRequest, "InstanceRefreshInProgress",
				"An Instance Refresh is already in progress and blocks the execution of this Instance Refresh."}
		}
		if cfg.TemplateVersion != "" {
			g.version = cfg.TemplateVersion
		}
		r := &refresh{Refresh: Refresh{ID: uuid(c.ids.activities), Group: g.Name, Status: RefreshInProgress, Start: c.now(),
			MinHealthy: lowest, MaxHealthy: highest, Warmup: cfg.Warmup, Skip: cfg.SkipMatching}}
		for _, m := range g.live() {
			if !cfg.SkipMatching || m.TemplateVersion != g.version {
				r.old = append(r.old, m)
			}
		}
		r.total = len(r.old)
		r.Remaining = r.total
		g.refreshes = append(g.refreshes, r)
		id = r.ID
		c.emit(Event{Kind: RefreshStarted, Group: g.Name, Note: id})
		return nil
	})
	return id, err
}

// CancelRefresh is CancelInstanceRefresh: no further instance is replaced. It returns the
// refresh's id.
func (c *Cloud) CancelRefresh(name string) (id string, err error) {
	err = c.changeGroup(name, func(g *group) error {
		r := g.activeRefresh()
		if r == nil || r.Status == RefreshCancelling {
			return &Error{http.StatusBadRequest, "ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found for Auto Scaling group " + g.Name}
		}
		r.Status, r.Reason, id = RefreshCancelling, "Cancelled due to user request.", r.ID
		return nil
	})
	return id, err
}

func (g *group) activeRefresh() *refresh {
	i := slices.IndexFunc(g.refreshes, func(r *refresh) bool { return r.active() })
	if i < 0 {
		return nil
	}
	return g.refreshes[i]
}

// surge is how many instances more than desired a refresh wants for now.
func (g *group) surge() int {
	r := g.activeRefresh()
	if r == nil || r.Status != RefreshInProgress || r.MaxHealthy <= 100 || g.isSuspended(ProcessInstanceRefresh) {
		return 0
	}
	extra := max((g.Desired*r.MaxHealthy+99)/100-g.Desired, 1)
	return min(extra, len(r.waiting()))
}

// waiting gives the instances that are still to be told to go.
func (r *refresh) waiting() []*machine {
	var ms []*machine
	for _, m := range r.old {
		if m.live() {
			ms = append(ms, m)
		}
	}
	return ms
}

// refresh takes a group's instance refresh as far as it can go now. c.mu is held.
func (c *Cloud) refresh(g *group) {
	r := g.activeRefresh()
	if r == nil {
		return
	}
	if r.Status == RefreshInProgress && !g.isSuspended(ProcessInstanceRefresh) {
		for _, m := range r.waiting() {
			if !c.mayReplace(g, r, m) {
				break
			}
			c.tellToGo(m, "instance refresh", r.MaxHealthy <= 100, true)
		}
	}
	c.reckon(g, r)
}

// mayReplace reports whether enough others count as in service for one to be told to go.
func (c *Cloud) mayReplace(g *group, r *refresh, m *machine) bool {
	others := 0
	for _, o := range g.live() {
		if o != m && r.counts(o, c.now()) {
			others++
		}
	}
	least := (g.Desired*r.MinHealthy + 99) / 100
	if r.MaxHealthy <= 100 {
		// However small the group: one at a time goes.
		least = min(least, g.Desired-1)
	}
	return others >= least
}

// reckon counts what is done of a refresh, and ends it.
func (c *Cloud) reckon(g *group, r *refresh) {
	gone, leaving := 0, 0
	for _, m := range r.old {
		switch {
		case m.Lifecycle == "" || m.Group != g.Name || m.InPool():
			gone++
		case m.noticed:
			leaving++
		}
	}
	settled := 0
	for _, m := range g.live() {
		if !slices.Contains(r.old, m) && r.counts(m, c.now()) {
			settled++
		}
	}
	if done := min(gone, settled); r.Remaining != r.total-done {
		r.Remaining, r.Percent = r.total-done, 100*done/r.total
		c.dirty = true
	}
	switch {
	case r.Status == RefreshCancelling && leaving == 0:
		r.Status = RefreshCancelled
	case r.Status == RefreshInProgress && gone == r.total && len(g.live()) == g.Desired && g.allCount(r, c.now()):
		r.Status, r.Remaining, r.Percent = RefreshSuccessful, 0, 100
	default:
		return
	}
	r.End = c.now()
	c.dirty = true
	c.emit(Event{Kind: RefreshEnded, Group: g.Name, Note: r.ID + " " + r.Status})
}

// counts reports whether an instance is in service and, where it is new, warmed up.
func (r *refresh) counts(m *machine, now time.Time) bool {
	return m.Lifecycle == LifecycleInService && (slices.Contains(r.old, m) || !now.Before(m.inServiceAt.Add(r.Warmup)))
}

func (g *group) allCount(r *refresh, now time.Time) bool {
	return !slices.ContainsFunc(g.live(), func(m *machine) bool { return !r.counts(m, now) })
}
