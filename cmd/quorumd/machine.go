package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/quorumd/quorumd/agent"
	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/fleetlock"
	"github.com/quorumd/quorumd/agent/host"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/units"
)

// machine is logind.
type machine struct{ conn *units.Conn }

// Login asks for its state.
func (m machine) Login(ctx context.Context) (policy.Login, error) {
	l, err := m.conn.Login(ctx)
	return login(l), err
}

// login puts logind's words into policy's.
func login(l units.Login) policy.Login {
	out := policy.Login{GoingDown: l.GoingDown}
	for _, s := range l.Sessions {
		words := s.User + " (" + s.Type
		if s.Host != "" {
			words += " from " + s.Host
		}
		out.Users = append(out.Users, words+")")
	}
	for _, b := range l.Blocks {
		out.Blocks = append(out.Blocks, fmt.Sprintf("%s: %s (pid %d)", b.Who, b.Why, b.PID))
	}
	return out
}

// WatchLogin calls poke when it may have changed.
func (m machine) WatchLogin(ctx context.Context, poke func()) error {
	return m.conn.WatchLogin(ctx, func(units.Login, error) { poke() })
}

// Reboot has logind reboot the machine.
func (m machine) Reboot(ctx context.Context) error { return m.conn.Reboot(ctx) }

// services are the units of reboot.units.
type services struct {
	conn  *units.Conn
	units []string
}

// Down gives those that are not up.
func (s services) Down(ctx context.Context) ([]string, error) {
	var down []string
	for _, u := range s.units {
		st, err := s.conn.State(ctx, u)
		switch {
		case err != nil:
			return nil, err
		case st.LoadState == "not-found":
			down = append(down, u+" does not exist")
		case st.ActiveState != units.ActiveStateActive:
			down = append(down, u+" is "+st.ActiveState)
		}
	}
	return down, nil
}

// scripts are the directories of programs around a reboot.
type scripts struct {
	cfg config.Reboot
	env []string
	log *slog.Logger
}

// Run runs those of one directory.
func (s scripts) Run(ctx context.Context, when policy.ScriptsWhen) error {
	return s.in(when).Run(ctx)
}

// Any implements [agent.Scripts].
func (s scripts) Any(when policy.ScriptsWhen) bool { return s.in(when).Any() }

func (s scripts) in(when policy.ScriptsWhen) host.Scripts {
	return host.Scripts{Dir: filepath.Join(s.cfg.ScriptsDir, string(when)+".d"), Each: s.cfg.ScriptTimeout, Whole: 3 * s.cfg.ScriptTimeout,
		Env: append([]string{"QUORUMD_WHEN=" + string(when)}, s.env...), Log: s.log}
}

// fleetLock answers FleetLock clients through the loop, which is nil until it is
// known who this node is.
type fleetLock struct{ loop *atomic.Pointer[agent.Agent] }

// PreReboot implements fleetlock.Lock.
func (f fleetLock) PreReboot(ctx context.Context, c fleetlock.Client) (fleetlock.Outcome, error) {
	return f.ask(c, func(a *agent.Agent) (policy.AnswerRequest, error) { return a.PreReboot(ctx, c.ID, c.Group) })
}

// SteadyState implements fleetlock.Lock.
func (f fleetLock) SteadyState(ctx context.Context, c fleetlock.Client) (fleetlock.Outcome, error) {
	return f.ask(c, func(a *agent.Agent) (policy.AnswerRequest, error) { return a.SteadyState(ctx, c.ID, c.Group) })
}

func (f fleetLock) ask(_ fleetlock.Client, ask func(*agent.Agent) (policy.AnswerRequest, error)) (fleetlock.Outcome, error) {
	loop := f.loop.Load()
	if loop == nil {
		return fleetlock.Outcome{}, errTooEarly
	}
	ans, err := ask(loop)
	if err != nil {
		return fleetlock.Outcome{}, err
	}
	return fleetlock.Outcome{OK: ans.OK, Reason: string(ans.Reason), Detail: strings.TrimSpace(ans.Answer)}, nil
}
