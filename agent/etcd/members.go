package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

func (c *Client) prefix() string     { return "/quorumd/" + c.cfg.Cluster + "/" }
func (c *Client) joinPrefix() string { return c.prefix() + "join/" }
func (c *Client) joinKey(id policy.InstanceID) string {
	return c.joinPrefix() + string(id)
}

// roster is a member list and the join keys, with the revisions of the latter.
type roster struct {
	policy.MemberList
	joins map[policy.InstanceID]join
}

type join struct {
	url string
	mod int64
}

// Members reads the member list, linearizably, and the join keys.
func (c *Client) Members(ctx context.Context) (policy.MemberList, error) {
	r, _, err := read(ctx, c, c.readRoster)
	if err != nil {
		return policy.MemberList{}, fmt.Errorf("list members: %w", err)
	}
	return r.MemberList, nil
}

func (c *Client) readRoster(ctx context.Context, e *endpoint) (roster, error) {
	// Join keys first: a member is added after its key is written, so a list
	// that shows the member never goes with keys that lack it.
	keys, err := e.cl.Get(ctx, c.joinPrefix(), clientv3.WithPrefix())
	if err != nil {
		return roster{}, err
	}
	list, err := e.cl.MemberList(ctx)
	if err != nil {
		return roster{}, err
	}
	r := roster{
		MemberList: policy.MemberList{
			Cluster: policy.ClusterID(list.Header.ClusterId),
			Via:     policy.MemberID(list.Header.MemberId),
			Joins:   map[string]policy.InstanceID{},
		},
		joins: map[policy.InstanceID]join{},
	}
	for _, m := range list.Members {
		r.Members = append(r.Members, policy.Member{
			ID: policy.MemberID(m.ID), Name: m.Name, Learner: m.IsLearner,
			PeerURLs: slices.Clone(m.PeerURLs), ClientURLs: slices.Clone(m.ClientURLs),
		})
	}
	sortMembers(r.Members)
	newest := map[string]int64{}
	for _, kv := range keys.Kvs {
		id := policy.InstanceID(strings.TrimPrefix(string(kv.Key), c.joinPrefix()))
		url := string(kv.Value)
		r.joins[id] = join{url: url, mod: kv.ModRevision}
		// An address is used again, so two instances may have announced one
		// URL: the one that did so last has it now.
		if kv.ModRevision > newest[url] {
			newest[url] = kv.ModRevision
			r.Joins[url] = id
		}
	}
	return r, nil
}

func sortMembers(ms []policy.Member) {
	slices.SortFunc(ms, func(a, b policy.Member) int { return cmp.Compare(a.ID, b.ID) })
}

// AddLearner announces an instance's peer URL and adds it as a learner. It is
// done when the instance's own learner, added by an earlier call and not
// started yet, is found. A URL that belongs to any other member is refused.
func (c *Client) AddLearner(ctx context.Context, instance policy.InstanceID, peerURL string) (policy.MemberID, error) {
	id, err := c.addLearner(ctx, instance, peerURL)
	if err != nil {
		return 0, fmt.Errorf("add learner %s: %w", instance, err)
	}
	return id, nil
}

func (c *Client) addLearner(ctx context.Context, instance policy.InstanceID, peerURL string) (policy.MemberID, error) {
	before, via, err := read(ctx, c, c.readRoster)
	if err != nil {
		return 0, err
	}
	// Looked up before the key is written: an unstarted learner of an instance
	// that is gone must not become ours by its address.
	if m, ok := memberAt(before.MemberList, peerURL); ok {
		if m.Name == "" && m.Learner && before.Instance(m) == instance {
			return m.ID, nil
		}
		return 0, fmt.Errorf("peer url %s belongs to member %s: %w", peerURL, m.ID, errRefused)
	}
	if err := c.announce(ctx, via, instance, peerURL, before.joins[instance].mod); err != nil {
		return 0, err
	}
	var id policy.MemberID
	err = c.write(ctx, via, func(ctx context.Context, e *endpoint) error {
		resp, err := e.cl.MemberAddAsLearner(ctx, []string{peerURL})
		switch {
		case err == nil:
			id = policy.MemberID(resp.Member.ID)
			return nil
		case errors.Is(err, rpctypes.ErrPeerURLExist), errors.Is(err, rpctypes.ErrMemberExist), errors.Is(err, rpctypes.ErrTooManyLearners):
			// There was none a moment ago: an attempt whose answer was lost.
			now, lerr := c.readRoster(ctx, e)
			if lerr != nil {
				return lerr
			}
			if m, ok := memberAt(now.MemberList, peerURL); ok && m.Name == "" && m.Learner {
				id = m.ID
				return nil
			}
		}
		return err
	})
	return id, err
}

// announce writes the join key, comparing that it is as it was seen.
func (c *Client) announce(ctx context.Context, via string, instance policy.InstanceID, peerURL string, mod int64) error {
	key := c.joinKey(instance)
	return c.write(ctx, via, func(ctx context.Context, e *endpoint) error {
		resp, err := e.cl.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", mod)).
			Then(clientv3.OpPut(key, peerURL)).
			Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		if kvs := resp.Responses[0].GetResponseRange().GetKvs(); !resp.Succeeded && (len(kvs) != 1 || string(kvs[0].Value) != peerURL) {
			return fmt.Errorf("key %s has changed: %w", key, errRefused)
		}
		return nil
	})
}

func memberAt(l policy.MemberList, peerURL string) (policy.Member, bool) {
	for _, m := range l.Members {
		if slices.Contains(m.PeerURLs, peerURL) {
			return m, true
		}
	}
	return policy.Member{}, false
}

// Promote makes a learner a voter. It is done when the member votes already.
func (c *Client) Promote(ctx context.Context, id policy.MemberID) error {
	err := c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
		_, err := e.cl.MemberPromote(ctx, uint64(id))
		if errors.Is(err, rpctypes.ErrMemberNotLearner) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("promote member %s: %w", id, err)
	}
	return nil
}

// Remove removes a member, asking any member but the removed one, and deletes
// the join key of its instance (empty: nobody can tell whose it was). It is done
// when there is no such member any more.
//
// learner says that it was decided about a learner, which no quorum counts: if it
// votes by now it is left alone ([ErrVotes]).
func (c *Client) Remove(ctx context.Context, id policy.MemberID, instance policy.InstanceID, learner bool) error {
	if err := c.remove(ctx, id, instance, learner); err != nil {
		return fmt.Errorf("remove member %s: %w", id, err)
	}
	return nil
}

func (c *Client) remove(ctx context.Context, id policy.MemberID, instance policy.InstanceID, learner bool) error {
	// The key as it is before the removal: if its instance announces itself anew
	// meanwhile, the comparison below spares the new key.
	seen, err := c.survivor(ctx, id, instance, false)
	if err != nil {
		return err
	}
	if m, ok := seen.Find(id); ok && learner && !m.Learner {
		return ErrVotes
	}
	after, err := c.survivor(ctx, id, instance, true)
	if err != nil {
		return err
	}
	j := seen.joins[instance]
	if instance == "" || j.mod == 0 {
		return nil
	}
	if _, taken := memberAt(after.MemberList, j.url); taken {
		return nil // its next member is there already
	}
	return c.withdraw(ctx, instance, j)
}

// withdraw deletes a join key that is still as it was seen.
func (c *Client) withdraw(ctx context.Context, instance policy.InstanceID, seen join) error {
	key := c.joinKey(instance)
	return c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
		_, err := e.cl.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", seen.mod)).
			Then(clientv3.OpDelete(key)).Commit()
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return nil // the removal stands; a key too many misleads nobody
		}
		return err
	})
}

// survivor reads the roster through a member other than id, after removing id
// there when asked to.
func (c *Client) survivor(ctx context.Context, id policy.MemberID, instance policy.InstanceID, remove bool) (roster, error) {
	var out roster
	err := c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
		st, err := e.maint.Status(ctx, e.url)
		if err != nil {
			return err
		}
		if policy.MemberID(st.Header.MemberId) == id {
			return fmt.Errorf("%w: it is the member to be removed", errSkipped)
		}
		if remove {
			_, err := e.cl.MemberRemove(ctx, uint64(id))
			if err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
				return err
			}
		}
		out, err = c.readRoster(ctx, e)
		return err
	})
	return out, err
}

// MoveLeader hands leadership to a voter. Only the leader can, so it is looked
// for among the endpoints. It is done when the voter leads already.
func (c *Client) MoveLeader(ctx context.Context, to policy.MemberID) error {
	if err := c.moveLeader(ctx, to); err != nil {
		return fmt.Errorf("move leader to %s: %w", to, err)
	}
	return nil
}

func (c *Client) moveLeader(ctx context.Context, to policy.MemberID) error {
	url, leader, err := c.leader(ctx)
	if err != nil || leader == to {
		return err
	}
	return c.through(ctx, url, c.timing.call, func(ctx context.Context, e *endpoint) error {
		_, err := e.cl.MoveLeader(ctx, uint64(to))
		return err
	})
}

// leader asks all endpoints at once who leads, and gives the URL of the one that
// says so of itself, at the highest term.
func (c *Client) leader(ctx context.Context) (url string, id policy.MemberID, err error) {
	urls := c.order()
	if len(urls) == 0 {
		return "", 0, errNoEndpoints
	}
	states := make([]*clientv3.StatusResponse, len(urls))
	errs := make([]error, len(urls))
	var wg sync.WaitGroup
	for i, u := range urls {
		wg.Go(func() {
			errs[i] = c.through(ctx, u, c.timing.probe, func(ctx context.Context, e *endpoint) (err error) {
				states[i], err = e.maint.Status(ctx, u)
				return err
			})
		})
	}
	wg.Wait()
	var term uint64
	for i, st := range states {
		if errs[i] == nil && st.Leader != 0 && st.Leader == st.Header.MemberId && st.RaftTerm > term {
			url, id, term = urls[i], policy.MemberID(st.Leader), st.RaftTerm
		}
	}
	if url != "" {
		return url, id, nil
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	errs = append(errs, errNoLeaderFound)
	return "", 0, joined(errs)
}

var errNoLeaderFound = fmt.Errorf("no endpoint says that it leads: %w", context.DeadlineExceeded)
