//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
)

// Options of a lab. The zero value is usable.
type Options struct {
	// Logf gets one line for what a reader of a failed test wants to know
	// (host booted, rebooted, went down). Nil: silent.
	Logf func(format string, args ...any)
}

// Lab is one network of hosts. Its methods may be called from any goroutine.
type Lab struct {
	id   string // the prefix of every name: qlab-3f2a
	dir  string // layers and consoles; on the disk of the checkout
	base string // the tree under every host
	say  func(string, ...any)

	locks []*os.File // state directory (ours alone), base tree (shared)

	mu        sync.Mutex
	hub       *Net // the namespace with the bridge
	nets      map[string]*Net
	hosts     []*Host
	made      int // hosts so far, retired ones included
	listeners []net.Listener
	closed    bool // Close has begun
	silent    bool // Close has ended: nobody may log to the test any more
}

// Subnet of every lab. Labs do not see each other, so they may share it.
var Subnet = netip.MustParsePrefix("10.77.0.0/24")

var hubAddr = netip.MustParseAddr("10.77.0.1")

// ErrNotRoot tells that the lab needs root: namespaces, mounts and nspawn.
var ErrNotRoot = errors.New("the lab boots systemd hosts and needs root (try: sudo make e2e)")

// New prepares the machine where needed (see prepare.sh: minutes the first
// time, milliseconds later) and makes an empty lab. The caller closes it.
func New(ctx context.Context, opts Options) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	repo, err := repoRoot()
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, repo); err != nil {
		return nil, err
	}
	l := &Lab{say: opts.Logf, silent: opts.Logf == nil, nets: map[string]*Net{}}
	if err := l.claim(repo); err != nil {
		return nil, err
	}
	live.add(l)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.hub, err = l.newHub(); err != nil {
		return nil, err
	}
	return l, nil
}

// ID is the prefix of everything this lab makes on the machine.
func (l *Lab) ID() string { return l.id }

// Hosts lists the hosts made so far, running or not.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hosts)
}

// Close powers every host off and removes every trace of the lab. It may be
// called more than once; it is not cut short by any context, since what it
// leaves would stay on the machine, but each of its steps is bounded.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	hosts, listeners := l.hosts, l.listeners
	l.mu.Unlock()

	for _, ln := range listeners {
		_ = ln.Close() // the owner may have closed it before
	}
	var wg sync.WaitGroup
	for _, h := range hosts {
		wg.Go(func() { h.PowerOff() })
	}
	wg.Wait()
	err := destroy(l.id)
	for _, f := range l.locks {
		err = errors.Join(err, f.Close())
	}
	l.mu.Lock()
	l.silent = true
	l.mu.Unlock()
	live.remove(l)
	return err
}

func (l *Lab) logf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.silent {
		l.say(format, args...)
	}
}

// live knows the labs of this process, for the signal handler of Main.
var live = &labSet{labs: map[*Lab]bool{}}

type labSet struct {
	mu   sync.Mutex
	labs map[*Lab]bool
}

func (s *labSet) add(l *Lab) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.labs[l] = true
}

func (s *labSet) remove(l *Lab) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.labs, l)
}

func (s *labSet) closeAll() (err error) {
	s.mu.Lock()
	labs := make([]*Lab, 0, len(s.labs))
	for l := range s.labs {
		labs = append(labs, l)
	}
	s.mu.Unlock()
	for _, l := range labs {
		err = errors.Join(err, l.Close())
	}
	return err
}

// repoRoot is the checkout that this file was compiled from.
func repoRoot() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	if _, err := os.Stat(filepath.Join(root, "go.mod")); !ok || err != nil {
		return "", fmt.Errorf("find the checkout from %q (built with -trimpath?)", file)
	}
	return root, nil
}

// Repo is the root of the checkout, or panics: tests find binaries under it.
func Repo() string {
	root, err := repoRoot()
	if err != nil {
		panic(err)
	}
	return root
}

// Etcd builds etcd's binaries of one minor version ("3.6") if they are not
// there yet, and returns the directory with etcd, etcdctl and etcdutl.
func Etcd(ctx context.Context, version string) (string, error) {
	out, err := run(ctx, filepath.Join(Repo(), "test/etcd/build.sh"), version)
	return string(bytes.TrimSpace(out)), err
}

func cacheDir(repo string) string {
	if dir := os.Getenv("QUORUMD_LAB_CACHE"); dir != "" {
		return dir
	}
	return filepath.Join(repo, ".cache/lab")
}

// prepare runs prepare.sh, the one place that knows what the lab needs.
func prepare(ctx context.Context, repo string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(repo, "test/lab/prepare.sh"))
	cmd.Stderr = os.Stderr // progress of the minutes that a first time takes
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("prepare the lab: %w", err)
	}
	return nil
}

// run runs a short command to its end and puts its stderr into the error.
func run(ctx context.Context, argv ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w: %s", argv, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}
