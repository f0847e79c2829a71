package etcd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

func withPassword(t *testing.T, user, pw string) func(*Config) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte(pw+"\n"), 0o600))
	return func(c *Config) { c.Username, c.PasswordFile = user, file }
}

func TestAuth(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{Args: []string{"--auth-token-ttl", "2"}})
	m := cl.Member("i-a")
	ctx := soon(t)
	good := clientOf(t, m, cl.ClientURLs(), withPassword(t, "root", "secret"))
	// Before auth is on, a password is not needed, and no obstacle.
	cluster := clusterID(t, good)

	root := admin(t, m)
	_, err := root.RoleAdd(ctx, "root")
	must(t, err)
	_, err = root.UserAdd(ctx, "root", "secret")
	must(t, err)
	_, err = root.UserGrantRole(ctx, "root", "root")
	must(t, err)
	_, err = root.AuthEnable(ctx)
	must(t, err)

	must(t, good.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
	must(t, good.ReleaseHold(ctx, 0, lockOf(t, good).Holders[0].Revision))
	good.timing.renew = 500 * time.Millisecond
	_, stop := queued(t, good, policy.HoldLeaving)
	for _, m := range cl.Members() {
		if h, err := good.Probe(ctx, m.ClientURL); err != nil || !h.Serves {
			t.Errorf("probe of %s: %+v, %v", m.Name, h, err)
		}
	}
	// Tokens run out, and are renewed.
	end := time.Now().Add(4 * time.Second)
	eventually(t, "the tokens have run out", func() bool { return time.Now().After(end) })
	for _, m := range cl.Members() {
		if h, err := good.Probe(ctx, m.ClientURL); err != nil || !h.Serves {
			t.Errorf("probe of %s with a new token: %+v, %v", m.Name, h, err)
		}
	}
	if l := lockOf(t, good); len(l.Leaving) != 1 {
		t.Errorf("queue %+v", l.Leaving)
	}
	must(t, stop())

	wrong := clientOf(t, m, cl.ClientURLs(), withPassword(t, "root", "guessed"))
	nobody := clientOf(t, m, cl.ClientURLs())
	for what, err := range map[string]error{
		"wrong password": errOf(wrong.Probe(ctx, m.ClientURL)), "wrong password, lock": errOf(wrong.Lock(ctx)),
		"no password": errOf(nobody.Probe(ctx, m.ClientURL)), "no password, members": errOf(nobody.Members(ctx)),
	} {
		if Classify(err) != CannotTell {
			t.Errorf("%s: %v: class %q", what, err, Classify(err))
		}
	}

	// Without quorum a password cannot be checked. Who logged in before sees a
	// member that does not serve; who did not cannot tell.
	fresh := clientOf(t, m, cl.ClientURLs(), withPassword(t, "root", "secret"))
	cl.Member("i-b").Kill()
	cl.Member("i-c").Kill()
	eventually(t, "the member is leaderless", func() bool {
		h, err := good.Probe(ctx, m.ClientURL)
		return err == nil && h.Leader == 0 && !h.Serves
	})
	if h, err := fresh.Probe(ctx, m.ClientURL); Classify(err) != CannotTell {
		t.Errorf("not logged in, no quorum: %+v, %v (class %q)", h, err, Classify(err))
	}
}

// enableAuth makes users, all with one password, and switches auth on. A role named
// root is etcd's administrator; any other may read and write below a prefix.
func enableAuth(t *testing.T, m *etcdproc.Member, pw string, roleOf map[string]string, prefix string) *clientv3.Client {
	t.Helper()
	ctx, cl := soon(t), admin(t, m)
	made := map[string]bool{}
	for user, role := range roleOf {
		if !made[role] {
			made[role] = true
			_, err := cl.RoleAdd(ctx, role)
			must(t, err)
			if role != "root" {
				_, err = cl.RoleGrantPermission(ctx, role, prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
				must(t, err)
			}
		}
		_, err := cl.UserAdd(ctx, user, pw)
		must(t, err)
		_, err = cl.UserGrantRole(ctx, user, role)
		must(t, err)
	}
	_, err := cl.AuthEnable(ctx)
	must(t, err)
	as, err := clientv3.New(clientv3.Config{Endpoints: []string{m.ClientURL}, Username: "root", Password: pw, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { _ = as.Close() })
	return as
}

// A learner takes no passwords, and still must be watched until it is promoted.
func TestAuthLearner(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{})
	a := cl.Member("i-a")
	ctx := soon(t)
	enableAuth(t, a, "secret", map[string]string{"root": "root", "quorumd": "root"}, "")
	c := clientOf(t, a, cl.ClientURLs(), withPassword(t, "quorumd", "secret"))
	b := cl.Add("i-b")
	var id policy.MemberID
	eventually(t, "the learner is added", func() bool {
		var err error
		id, err = c.AddLearner(ctx, "i-b", b.PeerURL)
		return err == nil
	})
	b.StartExisting(a, b)
	c.SetEndpoints(cl.ClientURLs())
	eventually(t, "the learner is seen to have caught up", func() bool {
		h, err := c.Probe(ctx, b.ClientURL)
		return err == nil && h.Learner && h.Member == id && h.Leader != 0
	})
	eventually(t, "the learner is promoted", func() bool { return c.Promote(ctx, id) == nil })
	eventually(t, "the voter serves", func() bool {
		h, err := c.Probe(ctx, b.ClientURL)
		return err == nil && h.Serves
	})
}

// Tokens are forgotten with the process that gave them out, and passwords change.
func TestAuthRenewal(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{})
	m := cl.Member("i-a")
	ctx := soon(t)
	root := enableAuth(t, m, "first", map[string]string{"root": "root", "quorumd": "root"}, "")
	var file string
	c := clientOf(t, m, cl.ClientURLs(), withPassword(t, "quorumd", "first"), func(cfg *Config) { file = cfg.PasswordFile })
	well := func(when string) {
		t.Helper()
		eventually(t, "the member serves "+when, func() bool {
			h, err := c.Probe(ctx, m.ClientURL)
			return err == nil && h.Serves
		})
		_, err := c.Members(ctx)
		must(t, err)
	}
	well("at first")

	_, err := root.UserChangePassword(ctx, "quorumd", "second")
	must(t, err)
	eventually(t, "the old password is refused", func() bool {
		_, err := c.Lock(ctx)
		return Classify(err) == CannotTell
	})
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := c.Lock(ctx); Classify(err) != CannotTell || !strings.Contains(err.Error(), file+" is empty") {
		t.Errorf("empty password file: %v", err)
	}
	must(t, os.Remove(file))
	if _, err := c.Lock(ctx); Classify(err) != CannotTell || !strings.Contains(err.Error(), file) {
		t.Errorf("no password file: %v", err)
	}
	must(t, os.WriteFile(file, []byte("second\n"), 0o600))
	well("with its new password")

	m.Kill()
	m.StartExisting(m)
	m.WaitHealthy()
	well("after its restart")
}

// What the agent's user must be allowed. Its own keys are not enough: etcd leaves
// members and leadership to the role root.
func TestAuthRights(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, []string{"i-a", "i-b"}, etcdproc.Options{})
	m := cl.Member("i-a")
	ctx := soon(t)
	enableAuth(t, m, "secret", map[string]string{"root": "root", "limited": "keys"}, "/quorumd/")
	limited := clientOf(t, m, cl.ClientURLs(), withPassword(t, "limited", "secret"))
	if h, err := limited.Probe(ctx, m.ClientURL); err != nil || !h.Serves {
		t.Errorf("probe: %+v, %v", h, err)
	}
	cluster := clusterID(t, limited)
	must(t, limited.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
	must(t, limited.ReleaseHold(ctx, 0, lockOf(t, limited).Holders[0].Revision))
	_, stop := queued(t, limited, policy.HoldLeaving)
	must(t, stop())
	other := idOf(t, limited, cl.Member("i-b"))
	for what, err := range map[string]error{
		"add":        errOf(limited.AddLearner(ctx, "i-c", "http://127.0.0.1:1")),
		"remove":     limited.Remove(ctx, other, "i-b", false),
		"promote":    limited.Promote(ctx, other),
		"move away":  limited.MoveLeader(ctx, other),
		"move here":  limited.MoveLeader(ctx, idOf(t, limited, m)),
		"other keys": errOf(limitedGet(ctx, limited)),
	} {
		if err == nil && strings.HasPrefix(what, "move") {
			continue // it leads already
		}
		if Classify(err) != CannotTell || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v: class %q", what, err, Classify(err))
		}
	}
}

// limitedGet reads a key that is not the agent's.
func limitedGet(ctx context.Context, c *Client) (int64, error) {
	n, _, err := read(ctx, c, func(ctx context.Context, e *endpoint) (int64, error) {
		resp, err := e.cl.Get(ctx, "application")
		if err != nil {
			return 0, err
		}
		return resp.Count, nil
	})
	return n, err
}
