package fakeaws

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// ErrClosed is returned by calls on a closed Cloud.
var ErrClosed = errors.New("cloud is closed")

// Cloud is one emulated AWS account in one region. All its methods may be called
// from several goroutines.
type Cloud struct {
	cfg   Config
	ctx   context.Context // ends at Close
	stop  context.CancelFunc
	wg    sync.WaitGroup // every goroutine, planned call and request in progress
	admin http.Handler

	mu        sync.Mutex
	closed    bool
	ids       *ids
	groups    []*group
	instances []*machine // in order of launch, until EC2 forgets them
	todo      []func()   // due at once, run before mu is released
	alarms    map[*alarm]struct{}
	dirty     bool // something changed that Describe calls show

	history   []*view // oldest first, never empty
	staleness time.Duration

	activities []*activity // oldest first

	faults   []*Fault
	faultSeq int

	events     []Event
	eventAdded chan struct{} // closed and replaced with each event
	calls      []Call
	servers    map[*http.Server]struct{}
}

// New returns an empty Cloud. The caller must Close it.
func New(cfg Config) (*Cloud, error) {
	cfg.setDefaults()
	c := &Cloud{
		cfg:        cfg,
		ids:        newIDs(cfg.Seed),
		alarms:     map[*alarm]struct{}{},
		eventAdded: make(chan struct{}),
		servers:    map[*http.Server]struct{}{},
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.admin = c.adminRoutes()
	c.history = []*view{c.takeView()}
	return c, nil
}

// Close stops every machine that runs, all servers and all timers, and waits for
// them. Instances keep the state they had; nothing happens in the Cloud any more.
func (c *Cloud) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		c.wg.Wait()
		return nil
	}
	c.closed = true
	for a := range c.alarms {
		c.cancel(a)
	}
	c.stop()
	var err error
	for s := range c.servers {
		err = errors.Join(err, s.Close())
	}
	c.mu.Unlock()
	c.wg.Wait()
	return err
}

// Region is the configured region.
func (c *Cloud) Region() string { return c.cfg.Region }

// do runs f with the Cloud locked, then everything that follows from it at the
// same moment. It reports false, without calling f, if the Cloud is closed.
func (c *Cloud) do(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	f()
	c.settle()
	return true
}

// try is do for an f that can fail.
func (c *Cloud) try(f func() error) error {
	err := ErrClosed
	c.do(func() { err = f() })
	return err
}

// settle runs what is due at once and lets each group act, until nothing is left to
// do, and records the outcome for Describe calls.
func (c *Cloud) settle() {
	for {
		for len(c.todo) > 0 {
			f := c.todo[0]
			c.todo = c.todo[1:]
			f()
		}
		for _, g := range c.groups {
			c.reconcile(g)
		}
		c.dropDeleted()
		if len(c.todo) == 0 {
			break
		}
	}
	if c.dirty {
		c.dirty = false
		c.remember(c.takeView())
	}
}

func (c *Cloud) now() time.Time { return c.cfg.Clock.Now() }

// alarm is a call planned with after.
type alarm struct {
	timer     Timer
	cancelled bool
}

// after plans a call of f, with the Cloud locked, after d. With d <= 0 it is made before the
// lock is released. c.mu is held.
func (c *Cloud) after(d time.Duration, f func()) *alarm {
	a := &alarm{}
	if d <= 0 {
		c.todo = append(c.todo, func() {
			if !a.cancelled {
				f()
			}
		})
		return a
	}
	c.wg.Add(1)
	c.alarms[a] = struct{}{}
	a.timer = c.cfg.Clock.AfterFunc(d, func() {
		defer c.wg.Done()
		c.do(func() {
			delete(c.alarms, a)
			if !a.cancelled {
				f()
			}
		})
	})
	return a
}

// cancel takes a planned call back. c.mu is held.
func (c *Cloud) cancel(a *alarm) {
	if a == nil || a.cancelled {
		return
	}
	a.cancelled = true
	delete(c.alarms, a)
	if a.timer != nil && a.timer.Stop() {
		c.wg.Done()
	}
}

// wait returns after d on the Cloud's clock, or at once with false if ctx or the Cloud ends first.
func (c *Cloud) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	over := make(chan struct{})
	t := c.cfg.Clock.AfterFunc(d, func() { close(over) })
	defer t.Stop()
	select {
	case <-over:
		return true
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return false
}

// enter counts a piece of work that Close waits for; it reports false if the
// Cloud is closed. The caller calls c.wg.Done when the work is over.
func (c *Cloud) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Add(1)
	return true
}

func (c *Cloud) findGroup(nameOrARN string) *group {
	for _, g := range c.groups {
		if g.Name == nameOrARN || g.arn == nameOrARN {
			return g
		}
	}
	return nil
}

func (c *Cloud) findInstance(id string) *machine {
	for _, m := range c.instances {
		if m.ID == id {
			return m
		}
	}
	return nil
}

func (c *Cloud) groupOf(m *machine) *group { return c.findGroup(m.Group) }
