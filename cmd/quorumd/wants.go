package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent"
	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/host"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/units"
)

// updateUnit is update_engine's own unit on Flatcar.
const updateUnit = "update-engine.service"

// scheduledEvery is how often EC2's events are read: they are told days before.
const scheduledEvery = time.Minute

// wants are the sources that the configuration has this agent listen to.
func (n *node) wants(p parts) map[policy.WantSource]agent.WantWatcher {
	r := n.cfg.Reboot
	out := map[policy.WantSource]agent.WantWatcher{}
	for source, watch := range map[policy.WantSource]agent.WantFunc{
		policy.WantUpdateEngine:   updateEngine{p.conn}.watch,
		policy.WantRebootRequired: markerWant(r.RequiredFile),
		policy.WantSentinel:       sentinelWant(r, n.log),
		policy.WantScheduled:      scheduledWant(p.metadata.Scheduled, r.ScheduledLead, time.Now),
	} {
		if r.Wants(source) {
			out[source] = watch
		}
	}
	return out
}

// updateEngine is Flatcar's update service on the bus.
type updateEngine struct{ conn *units.Conn }

func (u updateEngine) watch(ctx context.Context, report func(policy.Want, error)) error {
	return u.conn.WatchUpdates(ctx, func(s units.UpdateStatus, err error) { report(u.want(ctx, s, err)) })
}

// want is what update_engine's status means. A machine that has no such service is
// one on which it wants nothing; a service that is only silent has said nothing,
// also not that the update it was rebooted for is installed.
func (u updateEngine) want(ctx context.Context, s units.UpdateStatus, err error) (policy.Want, error) {
	if errors.Is(err, units.ErrNoService) {
		if st, uerr := u.conn.State(ctx, updateUnit); uerr == nil && st.LoadState == "not-found" {
			return policy.Want{}, nil
		}
	}
	if err != nil || !s.NeedsReboot() {
		return policy.Want{}, err
	}
	return policy.Want{Wanted: true, ID: s.NewVersion, Why: strings.TrimSpace("update " + s.NewVersion)}, nil
}

// markerWant is the file that update tools leave behind.
func markerWant(path string) agent.WantFunc {
	return func(ctx context.Context, report func(policy.Want, error)) error {
		return host.Marker{Path: path}.Watch(ctx, func(present bool, err error) {
			report(policy.Want{Wanted: present, Why: path}, err)
		})
	}
}

// sentinelWant runs the operator's command now and then.
func sentinelWant(r config.Reboot, log *slog.Logger) agent.WantFunc {
	s := host.Sentinel{Command: r.SentinelCommand, Log: log}
	return func(ctx context.Context, report func(policy.Want, error)) error {
		return every(ctx, r.SentinelEvery, func() {
			wanted, err := s.Wanted(ctx)
			report(policy.Want{Wanted: wanted, Why: strings.Join(r.SentinelCommand, " ")}, err)
		})
	}
}

// scheduledWant are the events of EC2 that reboot this instance, from lead before
// their time on.
func scheduledWant(read func(context.Context) ([]lifecycle.ScheduledEvent, error), lead time.Duration, now func() time.Time) agent.WantFunc {
	return func(ctx context.Context, report func(policy.Want, error)) error {
		return every(ctx, scheduledEvery, func() {
			events, err := read(ctx)
			report(eventWant(events, lead, now()), err)
		})
	}
}

// eventWant is what the earliest of the events that reboot the instance wants.
func eventWant(events []lifecycle.ScheduledEvent, lead time.Duration, now time.Time) policy.Want {
	var first *lifecycle.ScheduledEvent
	for i, e := range events {
		if e.Reboot() && (first == nil || e.NotBefore.Before(first.NotBefore)) {
			first = &events[i]
		}
	}
	if first == nil || now.Before(first.NotBefore.Add(-lead)) {
		return policy.Want{}
	}
	return policy.Want{Wanted: true, ID: first.ID, Due: first.NotBefore,
		Why: fmt.Sprintf("%s by EC2 at %s", first.Code, first.NotBefore.UTC().Format(time.DateTime))}
}

// every calls f now and every so often until ctx ends, and returns its error.
func every(ctx context.Context, pause time.Duration, f func()) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return ctx.Err()
}
