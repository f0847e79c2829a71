//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
	"github.com/quorumd/quorumd/test/ports"
)

// bare is a cluster of etcd processes with nobody beside them. A script that
// knows everything and waits for nothing but etcd does what agents have to find
// out: that is the least time that etcd itself needs.
type bare struct {
	etcd string
	dir  string
	net  *ports.Net
	made int

	mu    sync.Mutex
	alive []*bareMember // oldest first
}

type bareMember struct {
	name         string
	client, peer string // URLs
	cmd          *exec.Cmd
	started      time.Time
}

func (b *bench) newBare() (*bare, error) {
	n, err := ports.Take()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "quorumd-bare-")
	if err != nil {
		return nil, errors.Join(err, n.Return())
	}
	return &bare{etcd: b.bin.Etcd, dir: dir, net: n}, nil
}

// asksAgain is how often the script asks etcd again for what it refused.
const asksAgain = 20 * time.Millisecond

// replaceBare gives the time of each replacement, and how much of it the new member
// took from its start until it served clients. The script waits for that before it
// takes the old one out, as an operator would. etcd serves only once it has published
// itself, and when the snapshot that it begins with holds that publication already,
// it waits 7 s for it in vain before it tries again.
func (b *bench) replaceBare(ctx context.Context, size int) (seconds, serves []float64, err error) {
	// Children die with the thread that made them (Pdeathsig), so with this one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := b.newBare()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.bootstrap(ctx, size); err != nil {
		return nil, nil, err
	}
	w := fleet.StartWriter(fleet.WriterConfig{Endpoints: c.urls, Client: hosts.Client, Pause: writePause, Timeout: writeTimeout})
	defer w.Stop()
	if err := leaveAlone(ctx, quiet); err != nil {
		return nil, nil, err
	}
	for _, old := range slices.Clone(c.alive) {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, time.Minute)
		served, err := c.replace(bounded, old)
		cancel()
		if err != nil {
			return nil, nil, err
		}
		serves = append(serves, served.Seconds())
		seconds = append(seconds, time.Since(began).Seconds())
		b.say("replace: %d bare nodes: %s replaced after %.2fs", size, old.name, time.Since(began).Seconds())
	}
	return seconds, serves, b.checkWrites(ctx, c.urls(), w)
}

// urls are the client URLs of those that live.
func (c *bare) urls() (urls []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.alive {
		urls = append(urls, m.client)
	}
	return urls
}

// untilServes is the time from a member's start to its first linearizable read, or
// to the end of ctx.
func (c *bare) untilServes(ctx context.Context, m *bareMember) time.Duration {
	client, err := hosts.Client(m.client)
	if err != nil {
		return 0
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_ = fleet.Until(ctx, asksAgain, "a member to serve", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := client.Get(ctx, "serves")
		return err
	}) // else the time says it
	return time.Since(m.started)
}

func (c *bare) bootstrap(ctx context.Context, size int) error {
	var all []*bareMember
	var initial []string
	for range size {
		m := c.newMember()
		all = append(all, m)
		initial = append(initial, m.name+"="+m.peer)
	}
	for _, m := range all {
		if err := c.start(m, "new", initial); err != nil {
			return err
		}
	}
	return c.ask(ctx, "the first cluster", func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberList(ctx)
		return err
	})
}

// replace brings one member in, then takes one out: what a group does that
// replaces at once. It gives the time from the new one's start until it serves.
func (c *bare) replace(ctx context.Context, old *bareMember) (time.Duration, error) {
	m := c.newMember()
	var id uint64
	var initial []string
	if err := c.ask(ctx, "a learner to be added", func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.MemberAddAsLearner(ctx, []string{m.peer})
		if err != nil {
			return err
		}
		id = resp.Member.ID
		for _, other := range resp.Members {
			name := other.Name
			if other.ID == id {
				name = m.name
			}
			initial = append(initial, name+"="+other.PeerURLs[0])
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if err := c.start(m, "existing", initial); err != nil {
		return 0, err
	}
	if err := c.ask(ctx, "the learner to be promoted", func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberPromote(ctx, id)
		return err
	}); err != nil {
		return 0, err
	}
	served := c.untilServes(ctx, m)
	return served, c.remove(ctx, old, id)
}

// remove moves leadership away, if old has it, then removes and stops old.
func (c *bare) remove(ctx context.Context, old *bareMember, heir uint64) error {
	client, err := hosts.Client(old.client)
	if err != nil {
		return err
	}
	defer client.Close()
	status, err := client.Status(ctx, old.client)
	if err != nil {
		return err
	}
	id := status.Header.MemberId
	if status.Leader == id {
		if _, err := client.MoveLeader(ctx, heir); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.alive = slices.DeleteFunc(slices.Clone(c.alive), func(m *bareMember) bool { return m == old })
	c.mu.Unlock()
	defer stop(old)
	return c.ask(ctx, "a member to be removed", func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.MemberRemove(ctx, id)
		return err
	})
}

// ask asks the living members until they do it.
func (c *bare) ask(ctx context.Context, what string, f func(context.Context, *clientv3.Client) error) error {
	urls := c.urls()
	urls = urls[:max(1, len(urls)-1)] // the last may be a learner, which answers little
	client, err := hosts.Client(urls...)
	if err != nil {
		return err
	}
	defer client.Close()
	return fleet.Until(ctx, asksAgain, what, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return f(ctx, client)
	})
}

// newMember is one that was never there before, at the next address.
func (c *bare) newMember() *bareMember {
	c.made++
	addr := c.net.Addr(byte(10 + c.made))
	return &bareMember{
		name:   fmt.Sprintf("m%d", c.made),
		client: fmt.Sprintf("http://%s:2379", addr),
		peer:   fmt.Sprintf("http://%s:2380", addr),
	}
}

func (c *bare) start(m *bareMember, state string, initial []string) error {
	m.cmd = exec.Command(c.etcd,
		"--name", m.name, "--data-dir", filepath.Join(c.dir, m.name),
		"--listen-client-urls", m.client, "--advertise-client-urls", m.client,
		"--listen-peer-urls", m.peer, "--initial-advertise-peer-urls", m.peer,
		"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", state, "--log-level", "error")
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	m.started = time.Now()
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = append(c.alive, m)
	return nil
}

// stop ends a member at once: it is out of the cluster, or nobody needs it.
func stop(m *bareMember) {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait() // it says that it was killed
}

func (c *bare) close() error {
	for _, m := range c.alive {
		stop(m)
	}
	return errors.Join(os.RemoveAll(c.dir), c.net.Return())
}
