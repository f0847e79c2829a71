//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measureReplace replaces every node of a cluster, one after the other, by the
// group and its agents, and then by a script with bare etcd processes.
func measureReplace(ctx context.Context, b *bench) error {
	for _, size := range b.sizes {
		agents, err := b.replaceByGroup(ctx, size)
		if err != nil {
			return fmt.Errorf("%d nodes: %w", size, err)
		}
		bare, err := b.replaceBare(ctx, size)
		if err != nil {
			return fmt.Errorf("%d bare nodes: %w", size, err)
		}
		name := func(s string) string { return fmt.Sprintf("%d nodes: %s", size, s) }
		b.add("replace", name("a node, by the group"), "s", agents)
		base := b.add("replace", name("a node, bare etcd by a script"), "s", bare).Median
		var more []float64
		for _, s := range agents {
			more = append(more, s-base)
		}
		b.add("replace", name("beyond the median of bare etcd"), "s", more).atMost(3)
	}
	return nil
}

func (b *bench) replaceByGroup(ctx context.Context, size int) (seconds []float64, err error) {
	f, err := b.launch(ctx, size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
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
	return seconds, nil
}
