//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/quorumd/quorumd/test/hosts"
)

// measureRest watches the agents of three nodes that have nothing to do.
func measureRest(ctx context.Context, b *bench) (err error) {
	info, err := os.Stat(b.bin.Quorumd)
	if err != nil {
		return err
	}
	b.add("rest", "stripped binary", "MB", []float64{float64(info.Size()) / 1e6}).atMost(25)
	f, err := b.launch(ctx, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// What the cluster's forming left behind has to settle, garbage included.
	if err := leaveAlone(ctx, 20*time.Second); err != nil {
		return err
	}
	before := map[int]time.Duration{}
	for _, h := range f.Hosts() {
		pid := h.Machine().UnitPID(hosts.AgentUnit)
		if before[pid], err = cpuTime(pid); err != nil {
			return err
		}
	}
	f.Cloud.ResetCalls()
	began := time.Now()
	b.say("rest: watching for %s", b.rest)
	if err := leaveAlone(ctx, b.rest); err != nil {
		return err
	}
	took := time.Since(began)
	var cpu, rss []float64
	for pid, spent := range before {
		now, err := cpuTime(pid)
		if err != nil {
			return fmt.Errorf("an agent did not live through its rest: %w", err)
		}
		kib, err := residentKiB(pid)
		if err != nil {
			return err
		}
		cpu = append(cpu, 100*(now-spent).Seconds()/took.Seconds())
		rss = append(rss, kib/1024)
	}
	b.add("rest", "resident memory of an agent", "MiB", rss).atMost(30)
	b.add("rest", "CPU of an agent, of one core", "%", cpu).atMost(0.3)
	aws, imds := 0, 0
	for _, c := range f.Cloud.Calls() {
		if c.Service == "imds" {
			imds++
		} else {
			aws++
		}
	}
	minutes := took.Minutes()
	b.add("rest", "AWS calls a minute, whole cluster", "calls", []float64{float64(aws) / minutes}).atMost(1)
	b.add("rest", "metadata reads a minute and node", "reads", []float64{float64(imds) / minutes / 3})
	return nil
}

// cpuTime is how long the threads of a process have run, to the nanosecond:
// /proc/PID/stat counts in ticks of 10 ms, as many as are expected in all. Go's
// runtime keeps its threads.
func cpuTime(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d: no threads: %w", pid, os.ErrNotExist)
	}
	var sum time.Duration
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

func residentKiB(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseFloat(strings.Fields(v)[0], 64)
		}
	}
	return 0, fmt.Errorf("process %d: no VmRSS", pid)
}
