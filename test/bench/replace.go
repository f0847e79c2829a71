//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// measureReplace replaces every node of a cluster, one after the other, by the
// group and its agents, and then by a script with bare etcd processes. A client
// writes all the while, as one would.
func measureReplace(ctx context.Context, b *bench) error {
	for _, size := range b.sizes {
		agents, err := b.replaceByGroup(ctx, size)
		if err != nil {
			return fmt.Errorf("%d nodes: %w", size, err)
		}
		bare, serves, err := b.replaceBare(ctx, size)
		if err != nil {
			return fmt.Errorf("%d bare nodes: %w", size, err)
		}
		name := func(s string) string { return fmt.Sprintf("%d nodes: %s", size, s) }
		b.add("replace", name("a node, by the group"), "s", agents)
		b.add("replace", name("a node, bare etcd by a script"), "s", bare)
		b.add("replace", name("bare etcd, from its start until it serves"), "s", serves)
		// Of all together: which of them has to wait for etcd's 5 s differs.
		b.add("replace", name("a node beyond bare etcd, on average"), "s", []float64{mean(agents) - mean(bare)}).atMost(3)
	}
	return nil
}

func mean(samples []float64) (m float64) {
	for _, s := range samples {
		m += s / float64(len(samples))
	}
	return m
}

func (b *bench) replaceByGroup(ctx context.Context, size int) (seconds []float64, err error) {
	f, err := b.launch(ctx, size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := fleet.StartWriter(fleet.WriterConfig{Endpoints: f.Endpoints, Client: hosts.Client, Pause: writePause, Timeout: writeTimeout})
	defer w.Stop()
	if err := leaveAlone(ctx, quiet); err != nil {
		return nil, err
	}
	for _, inst := range f.Instances() {
		began := time.Now()
		if err := f.Terminate(inst.ID); err != nil {
			return nil, err
		}
		if err := settle(ctx, f); err != nil {
			return nil, err
		}
		seconds = append(seconds, time.Since(began).Seconds())
		b.say("replace: %d nodes: %s replaced after %.2fs", size, inst.ID, time.Since(began).Seconds())
	}
	return seconds, b.checkWrites(ctx, f.Endpoints(), w)
}
