package etcd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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

	must(t, good.TakeSlot(ctx, policy.HoldLeaving, 1, cluster))
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
