// Package etcdproc runs real etcd processes for tests, on loopback addresses
// that are a cluster's own: a static first cluster, members that join later, TLS, and
// everything that can happen to a process: stopped, killed, paused.
//
//	cl := etcdproc.Start(t, []string{"i-a", "i-b", "i-c"}, etcdproc.Options{})
//	cl.Member("i-a").Pause()
//
// A process dies with the test binary, whatever happens to that, and its data
// is in the test's temporary directory. fsync is off: tests kill processes, not
// machines.
package etcdproc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// version is what a cluster runs that names none of its own, so that one suite
// runs against every etcd: go test ./agent/etcd/... -etcd 3.5
var version = flag.String("etcd", "3.6", "minor version of etcd, a directory of test/etcd")

// Options are for all members of a cluster.
type Options struct {
	// Version is a directory of test/etcd; empty: the flag -etcd.
	Version string
	// Token is the initial cluster token; empty: one of the test's own.
	Token string
	// ClientTLS is for the client ports; nil: plain HTTP. The peer ports are
	// always plain.
	ClientTLS *ServerTLS
	// Args are more arguments for every member.
	Args []string
}

// ServerTLS is what the members show to, and ask of, clients.
type ServerTLS struct {
	CertFile, KeyFile string
	// ClientCAFile: clients must show a certificate of it; empty: none.
	ClientCAFile string
}

// Cluster is a set of members that were started to form one cluster.
type Cluster struct {
	tb      testing.TB
	opts    Options
	bin     string
	addrs   *addrs
	members []*Member
}

// Member is one etcd process, or the place for one.
type Member struct {
	Name               string
	Dir                string // the data directory
	PeerURL, ClientURL string
	MetricsURL         string

	cluster *Cluster
	proc    *process // nil when not running
}

// New makes a cluster with no members yet.
func New(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	if opts.Version == "" {
		opts.Version = *version
	}
	if opts.Token == "" {
		opts.Token = fmt.Sprintf("%s-%d", tb.Name(), os.Getpid())
	}
	bin, err := Binary(opts.Version)
	if err != nil {
		tb.Fatal(err)
	}
	return &Cluster{tb: tb, opts: opts, bin: bin, addrs: addrsOf(tb)}
}

// Start starts a first cluster of these members and waits until all are healthy.
func Start(tb testing.TB, names []string, opts Options) *Cluster {
	tb.Helper()
	c := New(tb, opts)
	for _, n := range names {
		c.Add(n)
	}
	c.StartAll()
	return c
}

// Add prepares a member at an address of its own. It is not started.
func (c *Cluster) Add(name string) *Member {
	c.tb.Helper()
	m := &Member{Name: name, Dir: filepath.Join(c.tb.TempDir(), "etcd"), cluster: c}
	host := c.addrs.next()
	scheme := "http"
	if c.opts.ClientTLS != nil {
		scheme = "https"
	}
	m.ClientURL = fmt.Sprintf("%s://%s:%d", scheme, host, c.addrs.ports[0])
	m.PeerURL = fmt.Sprintf("http://%s:%d", host, c.addrs.ports[1])
	m.MetricsURL = fmt.Sprintf("http://%s:%d", host, c.addrs.ports[2])
	c.members = append(c.members, m)
	return m
}

// SetToken replaces the initial cluster token, for one that depends on the
// members' URLs. Before the first start only.
func (c *Cluster) SetToken(token string) { c.opts.Token = token }

// StartAll starts all members as a first cluster and waits until they serve.
func (c *Cluster) StartAll() {
	c.tb.Helper()
	for _, m := range c.members {
		m.StartNew(c.members...)
	}
	for _, m := range c.members {
		m.WaitHealthy()
	}
}

// Member gives a member by name.
func (c *Cluster) Member(name string) *Member {
	c.tb.Helper()
	for _, m := range c.members {
		if m.Name == name {
			return m
		}
	}
	c.tb.Fatalf("etcdproc: no member %s", name)
	return nil
}

// Members gives all members, in the order in which they were added.
func (c *Cluster) Members() []*Member { return c.members }

// ClientURLs gives all members' client URLs.
func (c *Cluster) ClientURLs() []string {
	var urls []string
	for _, m := range c.members {
		urls = append(urls, m.ClientURL)
	}
	return urls
}

// StartNew starts the member with initial-cluster-state=new.
func (m *Member) StartNew(initial ...*Member) { m.cluster.tb.Helper(); m.start("new", initial) }

// StartExisting starts the member as one that was added to a running cluster,
// or, with a data directory that is not empty, again.
func (m *Member) StartExisting(initial ...*Member) {
	m.cluster.tb.Helper()
	m.start("existing", initial)
}

func (m *Member) start(state string, initial []*Member) {
	tb := m.cluster.tb
	tb.Helper()
	if m.proc != nil && m.proc.alive() {
		tb.Fatalf("etcdproc: %s runs already", m.Name)
	}
	var list []string
	for _, i := range initial {
		list = append(list, i.Name+"="+i.PeerURL)
	}
	args := []string{
		"--name", m.Name, "--data-dir", m.Dir,
		"--initial-cluster", strings.Join(list, ","), "--initial-cluster-state", state,
		"--initial-cluster-token", m.cluster.opts.Token,
		"--initial-advertise-peer-urls", m.PeerURL, "--listen-peer-urls", m.PeerURL,
		"--advertise-client-urls", m.ClientURL, "--listen-client-urls", m.ClientURL,
		"--listen-metrics-urls", m.MetricsURL,
		"--unsafe-no-fsync", "--log-level", "warn",
	}
	if t := m.cluster.opts.ClientTLS; t != nil {
		args = append(args, "--cert-file", t.CertFile, "--key-file", t.KeyFile)
		if t.ClientCAFile != "" {
			args = append(args, "--client-cert-auth", "--trusted-ca-file", t.ClientCAFile)
		}
	}
	log := filepath.Join(filepath.Dir(m.Dir), "etcd.log")
	p, err := spawn(m.cluster.bin, append(args, m.cluster.opts.Args...), log)
	if err != nil {
		tb.Fatalf("etcdproc: start %s: %v", m.Name, err)
	}
	m.proc = p
	tb.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		p.wait()
		if tb.Failed() {
			if b, err := os.ReadFile(log); err == nil {
				tb.Logf("log of etcd %s:\n%s", m.Name, tail(b, 4000))
			}
		}
	})
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// WaitHealthy waits until the member serves and knows a leader.
func (m *Member) WaitHealthy() {
	m.cluster.tb.Helper()
	m.waitFor("healthy", "/health")
}

// WaitServing waits until the member's process answers, learner or leaderless.
func (m *Member) WaitServing() {
	m.cluster.tb.Helper()
	m.waitFor("serving", "/livez")
}

func (m *Member) waitFor(what, path string) {
	tb := m.cluster.tb
	tb.Helper()
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		if !m.Running() {
			tb.Fatalf("etcdproc: %s exited: %v", m.Name, m.proc.wait())
		}
		resp, err := client.Get(m.MetricsURL + path)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Fatalf("etcdproc: %s is not %s after 20 s", m.Name, what)
}

// Running reports whether the process is there, paused or not.
func (m *Member) Running() bool { return m.proc != nil && m.proc.alive() }

// Stop ends the process orderly and waits for it.
func (m *Member) Stop() { m.end(syscall.SIGTERM) }

// Kill ends the process at once and waits for it.
func (m *Member) Kill() { m.end(syscall.SIGKILL) }

func (m *Member) end(sig syscall.Signal) {
	tb := m.cluster.tb
	tb.Helper()
	if m.proc == nil {
		return
	}
	m.proc.signal(sig)
	select {
	case <-m.proc.done:
	case <-time.After(20 * time.Second):
		tb.Fatalf("etcdproc: %s does not end by %s", m.Name, sig)
	}
}

// WaitExit waits until the process has ended by itself, and tells how: nil for
// exit status 0.
func (m *Member) WaitExit(ctx context.Context) error {
	select {
	case <-m.proc.done:
		return m.proc.err
	case <-ctx.Done():
		return fmt.Errorf("%s still runs: %w", m.Name, ctx.Err())
	}
}

// Pause stops the process in its tracks and waits until every thread of it is:
// its connections stay, nothing answers.
func (m *Member) Pause() {
	tb := m.cluster.tb
	tb.Helper()
	m.proc.signal(syscall.SIGSTOP)
	end := time.Now().Add(10 * time.Second)
	for !m.proc.paused() {
		if time.Now().After(end) {
			tb.Fatalf("etcdproc: %s is not paused after 10 s", m.Name)
		}
		time.Sleep(time.Millisecond)
	}
}

// Resume lets a paused process go on.
func (m *Member) Resume() { m.proc.signal(syscall.SIGCONT) }

// process is one child. A goroutine of its own starts it and waits for it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and err is set
	err  error
}

func spawn(bin string, args []string, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(bin, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"} // no ETCD_* of the caller's
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// Linux sends the death signal when the parent THREAD ends: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		_ = out.Close() // the child has its own
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig syscall.Signal) {
	// An ended process is what was wanted; any other error shows by its effect.
	_ = p.cmd.Process.Signal(sig)
}

// paused reports whether every thread is stopped (state T in /proc).
func (p *process) paused() bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil || len(stats) == 0 {
		return false
	}
	for _, s := range stats {
		b, err := os.ReadFile(s)
		// pid (comm) state ...
		_, rest, ok := strings.Cut(string(b), ") ")
		if err != nil || !ok || !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return true
}

func (p *process) wait() error {
	<-p.done
	return p.err
}

// Binary gives the path of etcd's binary of a version (a directory of test/etcd),
// building it if it is missing.
func Binary(version string) (string, error) {
	_, file, _, ok := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	if _, err := os.Stat(filepath.Join(root, "go.mod")); !ok || err != nil {
		// Built with -trimpath: ask go, from the directory of the test.
		out, err := exec.Command("go", "env", "GOMOD").Output()
		mod := strings.TrimSpace(string(out))
		if err != nil || mod == "" || mod == os.DevNull {
			return "", errors.New("etcdproc: cannot find the module's root")
		}
		root = filepath.Dir(mod)
	}
	bin := filepath.Join(root, ".cache", "etcd", version, "etcd")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	build := exec.Command(filepath.Join(root, "test", "etcd", "build.sh"), version)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("etcdproc: build etcd %s: %w\n%s", version, err, out)
	}
	return bin, nil
}
