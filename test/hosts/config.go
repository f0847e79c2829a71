//go:build linux

package hosts

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

// Config of a Fleet. Only Binaries is required.
type Config struct {
	Binaries Binaries

	// Dir holds everything; it must be short, for there are sockets in it.
	// Default: a new directory for temporary files, which Close removes.
	Dir string
	// Logs holds <instance>.quorumd.log and <instance>.etcd.log; default: in Dir.
	Logs string

	Max     int // of the group; default 9
	Replace fakeaws.Replace
	// Overrides make it a group of a mixed instances policy.
	Overrides []fakeaws.Override
	Hook      time.Duration // heartbeat timeout of both hooks; default 30 s
	Timing    fakeaws.Timing

	// AgentEnv overrides keys of every agent's configuration ("QUORUMD_LIFECYCLE_POLL=200ms").
	AgentEnv []string
	// AgentRestart is RestartSec= of quorumd.service; default 2 s, as shipped.
	AgentRestart time.Duration
	// EtcdRestart is RestartSec= of etcd-member.service; default 10 s, as shipped.
	EtcdRestart time.Duration

	// Security is TLS and etcd's auth; not together with Answered.
	Security Security

	// EtcdEnv are further variables of etcd ("ETCD_QUOTA_BACKEND_BYTES=16777216").
	EtcdEnv []string
	// Links makes what members send each other slow and lossy; not with TLS of the
	// peers, which compares where a connection comes from.
	Links Links

	// Answered is told of every call to AWS and to etcd that succeeded, before its
	// caller hears of it, and says whether the caller ever shall. It may kill the
	// caller: then that dies between an effect and its receipt, exactly. With it, a
	// proxy stands before AWS and before each etcd's client port. Calls come at the
	// same time.
	Answered func(Answer) (forward bool)

	Log *slog.Logger // of the hosts themselves; default: discard
}

// Group is the name of every fleet's auto scaling group; the hooks are its two.
const (
	Group         = "etcd"
	LaunchHook    = "quorumd-launch"
	TerminateHook = "quorumd-terminate"
)

func (c *Config) setDefaults() {
	if c.Max == 0 {
		c.Max = 9
	}
	if c.Hook == 0 {
		c.Hook = 30 * time.Second
	}
	if c.AgentRestart == 0 {
		c.AgentRestart = 2 * time.Second
	}
	if c.EtcdRestart == 0 {
		c.EtcdRestart = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// prepare makes the directories; mine: Dir is to be removed.
func (c *Config) prepare() (mine bool, err error) {
	if c.Binaries.Quorumd == "" || c.Binaries.Etcd == "" {
		return false, errors.New("no binaries given (see Build)")
	}
	if c.Answered != nil && c.Security != (Security{}) {
		return false, errors.New("the proxy of Answered reads what TLS would hide; choose one")
	}
	if c.Links != (Links{}) && c.Security.Peers {
		return false, errors.New("the proxies of Links hide where a connection comes from; choose Links or TLS of the peers")
	}
	if c.Dir == "" {
		if c.Dir, err = os.MkdirTemp("", "quorumd-"); err != nil {
			return false, err
		}
		mine = true
	}
	if c.Logs == "" {
		c.Logs = filepath.Join(c.Dir, "logs")
	}
	for _, dir := range []*string{&c.Dir, &c.Logs} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return mine, err
		}
		if err = os.MkdirAll(*dir, 0o755); err != nil {
			return mine, err
		}
	}
	return mine, nil
}
