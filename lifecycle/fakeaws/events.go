package fakeaws

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// EventKind says what happened.
type EventKind string

const (
	Launched           EventKind = "launched"
	LaunchFailed       EventKind = "launch-failed"
	BecameRunning      EventKind = "running"
	HookOpened         EventKind = "hook-opened"
	Heartbeat          EventKind = "heartbeat"
	HookCompleted      EventKind = "hook-completed"
	HookCancelled      EventKind = "hook-cancelled"
	InService          EventKind = "in-service"
	Notice             EventKind = "notice" // told to terminate
	BecameShuttingDown EventKind = "shutting-down"
	StopFailed         EventKind = "stop-failed"
	BecameTerminated   EventKind = "terminated"
	LeftGroup          EventKind = "left-group"
	GroupCreated       EventKind = "group-created"
	GroupDeleted       EventKind = "group-deleted"
	DesiredChanged     EventKind = "desired-changed"
	ProcessSuspended   EventKind = "suspended"
	ProcessResumed     EventKind = "resumed"
	SpotNotice         EventKind = "spot-notice"
	HealthSet          EventKind = "health-set" // Healthy or Unhealthy, in the note
	EnteredStandby     EventKind = "standby"
	Detached           EventKind = "detached"
	Attached           EventKind = "attached"
	BecameStopping     EventKind = "stopping"
	BecameStopped      EventKind = "stopped"
	ReturnsToPool      EventKind = "returns-to-pool" // told to go back to the warm pool
	EnteredPool        EventKind = "in-warm-pool"
	LeftPool           EventKind = "left-warm-pool" // on its way into service
	HookPut            EventKind = "hook-put"
	HookDeleted        EventKind = "hook-deleted"
	PoolPut            EventKind = "warm-pool-put"
	PoolDeleted        EventKind = "warm-pool-deleted"
	RefreshStarted     EventKind = "refresh-started"
	RefreshEnded       EventKind = "refresh-ended" // its status in the note
)

// Event is one entry of the log. Fields that do not apply are zero.
type Event struct {
	Seq        int // from 1, without gaps
	At         time.Time
	Kind       EventKind
	Group      string
	Instance   string
	Hook       string
	Transition Transition
	Result     string    // of a completed hook: CONTINUE or ABANDON
	By         string    // who completed or heartbeat: an instance id, an access key, or "expired..."
	Deadline   time.Time // of a hook that opened or got a heartbeat
	Note       string    // the reason, or an error
}

// String is one line for people.
func (e Event) String() string {
	const clock = "15:04:05.000"
	words := []string{e.At.Format(clock)}
	for _, w := range []string{e.Group, e.Instance, string(e.Kind), e.Hook, e.Result} {
		if w != "" {
			words = append(words, w)
		}
	}
	if e.By != "" {
		words = append(words, "by "+e.By)
	}
	if !e.Deadline.IsZero() {
		words = append(words, "until "+e.Deadline.Format(clock))
	}
	if e.Note != "" {
		words = append(words, "("+e.Note+")")
	}
	return strings.Join(words, " ")
}

// emit appends to the log. c.mu is held.
func (c *Cloud) emit(e Event) {
	e.Seq, e.At = len(c.events)+1, c.now()
	c.events = append(c.events, e)
	close(c.eventAdded)
	c.eventAdded = make(chan struct{})
}

// Events returns the log so far.
func (c *Cloud) Events() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// since returns the events after the first n, and a channel that is closed by the next.
func (c *Cloud) since(n int) ([]Event, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events[min(n, len(c.events)):]), c.eventAdded
}

// AwaitEvent returns the first event that matches, of those past and to come. It
// ends with ctx's error, or with ErrClosed.
func (c *Cloud) AwaitEvent(ctx context.Context, match func(Event) bool) (Event, error) {
	for n := 0; ; {
		events, added := c.since(n)
		for _, e := range events {
			if match(e) {
				return e, nil
			}
		}
		n += len(events)
		select {
		case <-added:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-c.ctx.Done():
			return Event{}, ErrClosed
		}
	}
}

// Subscribe calls f with every event, past ones first, in order, from one goroutine.
// f may call the Cloud, except Close. The subscription ends with the Cloud, which waits
// for f, or with the returned function, which does not.
func (c *Cloud) Subscribe(f func(Event)) (cancel func()) {
	done := make(chan struct{})
	cancel = sync.OnceFunc(func() { close(done) })
	if !c.enter() {
		return cancel
	}
	go func() {
		defer c.wg.Done()
		for n := 0; ; {
			events, added := c.since(n)
			for _, e := range events {
				select {
				case <-done:
					return
				default:
				}
				f(e)
			}
			n += len(events)
			select {
			case <-added:
			case <-done:
				return
			case <-c.ctx.Done():
				return
			}
		}
	}()
	return cancel
}

// Call is one API or metadata request.
type Call struct {
	At        time.Time
	Service   string // autoscaling, ec2 or imds
	Action    string // the API's action; for imds the method and path
	Group     string // named by the request, if any
	Instance  string // the caller, if its credentials come from metadata (imds: whose metadata)
	AccessKey string
	Status    int    // HTTP status of the answer; 0: the connection was cut
	Code      string // error code of the answer, if any
}

// Calls returns the requests answered so far, oldest first.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// ResetCalls empties the log of calls.
func (c *Cloud) ResetCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = nil
}

func (c *Cloud) record(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.At = c.now()
	if len(c.calls) >= c.cfg.MaxCalls {
		c.calls = slices.Delete(c.calls, 0, len(c.calls)-c.cfg.MaxCalls+1)
	}
	c.calls = append(c.calls, call)
}
