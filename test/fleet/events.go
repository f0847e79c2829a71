package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

// Watch begins to hold the group's events against the member list, as they come;
// Broken tells what did not hold. Call it before the group exists. It ends with
// the Cloud.
//
// The lists are read after the event: a voter that is in service does not lose
// its vote right after, and who left does not come back.
func (o *Observer) Watch() {
	o.watches = true
	judge := o.judge()
	o.Cloud.Subscribe(func(e fakeaws.Event) {
		judge(e)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.judged++
	})
}

// upToDate fails while events that have come are not held against a member list yet: what
// a story breaks next must not break that.
func (o *Observer) upToDate() error {
	n := len(o.Cloud.Events())
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watches && o.judged < n {
		return fmt.Errorf("of %d events %d are judged", n, o.judged)
	}
	return nil
}

// Broken is everything that was once not as it must be at any moment.
func (o *Observer) Broken() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.broken...)
}

// Over says that from now on machines just end, and that is no fault of anyone's.
func (o *Observer) Over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

// Excuse says that the machine of an instance may end while its member is still
// listed: it had no time to leave, or nobody was there to let it.
func (o *Observer) Excuse(instance string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.excused == nil {
		o.excused = map[string]bool{}
	}
	o.excused[instance] = true
}

// excuses reports whether an instance need not be out of the member list. Where the
// group wants no instances, there is nobody who could take it out.
func (o *Observer) excuses(instance string) bool {
	g, _ := o.Cloud.Group(o.Group)
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.excused[instance] || g.Desired == 0
}

func (o *Observer) judge() func(fakeaws.Event) {
	told := map[string]bool{} // to go, by the group, while its machine still ran
	return func(e fakeaws.Event) {
		var ok func(Members) bool
		switch {
		case e.Kind == fakeaws.Notice:
			told[e.Instance] = true
			return
		case e.Kind == fakeaws.InService:
			ok = func(m Members) bool {
				inst, _ := o.Cloud.Instance(e.Instance)
				return m.Votes(e.Instance) || !inst.NoticeAt.IsZero() // told to go since: we look too late
			}
		case e.Kind == fakeaws.BecameShuttingDown && told[e.Instance] && !o.excuses(e.Instance): // else lost: its member goes after it
			ok = func(m Members) bool { return m[e.Instance] == nil }
		default:
			return
		}
		if err := o.CheckAt(e, ok); err != nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			if !o.over {
				o.broken = append(o.broken, err)
			}
		}
	}
}

// CheckAt reads the member list and fails unless it is as an event needs it.
func (o *Observer) CheckAt(e fakeaws.Event, ok func(Members) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var members Members
	err := Until(ctx, 200*time.Millisecond, "the member list", func(ctx context.Context) (err error) {
		o.mu.Lock()
		over := o.over
		o.mu.Unlock()
		if over {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		members, err = o.Members(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("event %s %s: %w", e.Kind, e.Instance, err)
	}
	if !ok(members) {
		return fmt.Errorf("event %s %s, but the members are %s", e.Kind, e.Instance, members)
	}
	return nil
}

// Since returns the events of some kinds after the first n of the log.
func (o *Observer) Since(n int, kinds ...fakeaws.EventKind) (found []fakeaws.Event) {
	for _, e := range o.Cloud.Events()[n:] {
		if slices.Contains(kinds, e.Kind) {
			found = append(found, e)
		}
	}
	return found
}

// CheckHooks tells which hooks since the first n events were not completed by an
// agent and in time: left open, run out, or abandoned. mayRunOut excuses instances.
func (o *Observer) CheckHooks(n int, mayRunOut func(instance string) bool) error {
	var errs []error
	open := map[string]bool{}
	for _, e := range o.Cloud.Events()[n:] {
		key := e.Instance + " " + e.Hook
		switch e.Kind {
		case fakeaws.HookOpened:
			open[key] = true
		case fakeaws.HookCancelled:
			delete(open, key)
		case fakeaws.HookCompleted:
			delete(open, key)
			if mayRunOut != nil && mayRunOut(e.Instance) {
				continue
			}
			if strings.HasPrefix(e.By, "expired") {
				errs = append(errs, fmt.Errorf("hook %s of %s: %s", e.Hook, e.Instance, e.By))
			}
			if e.Result == fakeaws.Abandon {
				errs = append(errs, fmt.Errorf("hook %s of %s was abandoned", e.Hook, e.Instance))
			}
		}
	}
	for key := range open {
		errs = append(errs, fmt.Errorf("hook left open: %s", key))
	}
	return errors.Join(errs...)
}
