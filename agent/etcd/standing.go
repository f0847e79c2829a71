package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// Who waits has to know one thing: who is directly ahead. Reading the queue to find
// that out costs as much as there are waiters, each time. So every place that is
// made is also named in the queue's tail key, by the same transaction, which gives
// back whom the tail named before: that one is ahead. A place never gets anybody new
// ahead of it, so this has to be found out only once, and again only when the one
// ahead gave up. Who sees the one ahead holding a slot, or gone after it, is at the
// head: a slot is only ever taken from there.

// standing is what this process knows of its place in one queue.
type standing struct {
	created int64 // of the own place; 0: nothing is known
	head    bool  // nobody waits ahead, and never will
	// Who is directly ahead otherwise, and the create revision of that place.
	ahead        policy.InstanceID
	aheadCreated int64
}

type standings [len(lines)]standing

func (c *Client) standings() standings {
	c.known.Lock()
	defer c.known.Unlock()
	return c.standing
}

func (c *Client) standingIn(l line) *standing {
	if l == leavingLine {
		return &c.standing[0]
	}
	return &c.standing[1]
}

// stood notes a standing.
func (c *Client) stood(l line, st standing) {
	c.known.Lock()
	defer c.known.Unlock()
	*c.standingIn(l) = st
}

// headNow notes that nobody waits ahead of a place any more.
func (c *Client) headNow(l line, created int64) {
	c.known.Lock()
	defer c.known.Unlock()
	if st := c.standingIn(l); st.created == created {
		st.head = true
	}
}

// stand tells who is ahead of the own place in a line, from the places that were
// seen; false: they do not tell.
func (v *lockView) stand(lv *lineView, known standing) bool {
	if !lv.own.waits() {
		return true
	}
	if lv.all {
		for _, p := range lv.places {
			if p.created >= lv.own.created {
				break
			}
			if _, holds := v.holdOf(p.instance); p.waits() {
				lv.ahead = p
			} else if !holds {
				lv.orphan = p
			}
		}
		lv.head = lv.ahead.created == 0
		return true
	}
	if known.created != lv.own.created {
		return false
	}
	if known.head {
		lv.head = true
		return true
	}
	for _, p := range lv.places {
		if p.instance != known.ahead || p.created != known.aheadCreated {
			continue
		}
		if _, holds := v.holdOf(p.instance); holds && !p.waits() {
			lv.head = true
			return true
		}
		lv.ahead = p
		if !p.waits() {
			lv.orphan = p
		}
		return true
	}
	return false
}

// found completes a look: where the places do not tell who is ahead, etcd is asked.
func (c *Client) found(ctx context.Context, e *endpoint, v *lockView, known standings) error {
	for i, l := range lines {
		if !v.stand(v.line(l), known[i]) {
			if err := c.find(ctx, e, v, l); err != nil {
				return err
			}
		}
	}
	c.saw(v)
	return nil
}

// find finds who is directly ahead of the own place. etcd looks through the whole
// queue for it: only after a restart, a lost answer, or when the one ahead gave up.
func (c *Client) find(ctx context.Context, e *endpoint, v *lockView, l line) error {
	lv := v.line(l)
	resp, err := e.cl.Get(ctx, c.keys().line(l), clientv3.WithPrefix(), clientv3.WithLimit(1),
		clientv3.WithMaxCreateRev(lv.own.created-1), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		lv.head = true
		return nil
	}
	kv := resp.Kvs[0]
	w, err := decodeWaiter(kv.Value)
	if err != nil {
		return &MalformedKeyError{string(kv.Key), err}
	}
	p := placeOf(w, kv)
	if _, holds := v.holdOf(p.instance); holds && !p.waits() {
		lv.head = true
		return nil
	}
	lv.ahead = p // one that took a slot after the look is seen holding by the next
	return nil
}

// saw remembers a look: for who asks next, and for who waits for news.
func (c *Client) saw(v *lockView) {
	c.known.Lock()
	defer c.known.Unlock()
	if c.seen != nil && c.seen.rev > v.rev {
		return
	}
	c.seen = v
	for _, l := range lines {
		lv, st := v.line(l), c.standingIn(l)
		switch {
		case lv.own.waits():
			head := lv.head || st.created == lv.own.created && st.head // once there, for good
			*st = standing{created: lv.own.created, head: head, ahead: lv.ahead.instance, aheadCreated: lv.ahead.created}
		case st.created <= v.rev:
			*st = standing{}
		}
	}
	close(c.news)
	c.news = make(chan struct{})
}

// latest gives the look that was the last, nil before the first, and what is closed
// at the next.
func (c *Client) latest() (*lockView, <-chan struct{}) {
	c.known.Lock()
	defer c.known.Unlock()
	return c.seen, c.news
}

func (c *Client) seenView() *lockView {
	v, _ := c.latest()
	return v
}

// seenSince gives the first look of this client at the given revision or later,
// nil if there is none within the bound.
func (c *Client) seenSince(ctx context.Context, rev int64, bound time.Duration) *lockView {
	timer := time.NewTimer(bound)
	defer timer.Stop()
	for {
		v, news := c.latest()
		if v != nil && v.rev >= rev {
			return v
		}
		select {
		case <-news:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
