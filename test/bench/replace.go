//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// measureReplace replaces every node of a cluster, one after the other, by the
// group and its agents, and then by a script with bare etcd processes. A client
// writes all the while, as one would.
func measureReplace(ctx context.Context, b *bench) error {
	for _, size := range b.sizes {
		agents, starts, err := b.replaceByGroup(ctx, size)
		if err != nil {
			return fmt.Errorf("%d nodes: %w", size, err)
		}
		bare, serves, err := b.replaceBare(ctx, size)
		if err != nil {
			return fmt.Errorf("%d bare nodes: %w", size, err)
		}
		name := func(s string) string { return fmt.Sprintf("%d nodes: %s", size, s) }
		b.add("replace", name("a node, by the group"), "s", agents)
		b.add("replace", name("of it etcd, from its start until it serves"), "s", starts)
		b.add("replace", name("a node, bare etcd by a script"), "s", bare)
		b.add("replace", name("of it etcd, from its start until it serves (bare)"), "s", serves)
		// Of all together: which of them has to wait for etcd's 5 s differs. Without
		// etcd's own start, which is 0.1 s or 7 s as chance has it, on both sides.
		b.add("replace", name("a node beyond bare etcd, on average"), "s",
			[]float64{mean(agents) - mean(starts) - (mean(bare) - mean(serves))}).atMost(3)
	}
	return nil
}

func mean(samples []float64) (m float64) {
	for _, s := range samples {
		m += s / float64(len(samples))
	}
	return m
}

// servedAfter reads from etcd's log how long it took from its start until it served
// clients.
func servedAfter(log string) (float64, error) {
	data, err := os.ReadFile(log)
	if err != nil {
		return 0, err
	}
	var began, served time.Time
	for line := range bytes.Lines(data) {
		var entry struct {
			TS  time.Time `json:"ts"`
			Msg string    `json:"msg"`
		}
		if json.Unmarshal(line, &entry) != nil {
			continue // not every line is etcd's own
		}
		switch {
		case entry.Msg == "starting an etcd server" && began.IsZero():
			began = entry.TS
		case entry.Msg == "ready to serve client requests" && served.IsZero():
			served = entry.TS
		}
	}
	if began.IsZero() || served.Before(began) {
		return 0, fmt.Errorf("%s does not tell when etcd began and served", log)
	}
	return served.Sub(began).Seconds(), nil
}

// replaceByGroup gives the time of each replacement, and how much of it the new
// member's etcd took from its start until it served.
func (b *bench) replaceByGroup(ctx context.Context, size int) (seconds, starts []float64, err error) {
	f, err := b.launch(ctx, size)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := fleet.StartWriter(fleet.WriterConfig{Endpoints: f.Endpoints, Client: hosts.Client, Pause: writePause, Timeout: writeTimeout})
	defer w.Stop()
	if err := leaveAlone(ctx, quiet); err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for _, inst := range f.Instances() {
		seen[inst.ID] = true
	}
	for _, inst := range f.Instances() {
		began := time.Now()
		if err := f.Terminate(inst.ID); err != nil {
			return nil, nil, err
		}
		if err := settle(ctx, f); err != nil {
			return nil, nil, err
		}
		seconds = append(seconds, time.Since(began).Seconds())
		for _, now := range f.Instances() {
			if seen[now.ID] {
				continue
			}
			seen[now.ID] = true
			took, err := servedAfter(filepath.Join(f.LogDir(), now.ID+".etcd.log"))
			if err != nil {
				return nil, nil, err
			}
			starts = append(starts, took)
		}
		b.say("replace: %d nodes: %s replaced after %.2fs", size, inst.ID, time.Since(began).Seconds())
	}
	return seconds, starts, b.checkWrites(ctx, f.Endpoints(), w)
}
