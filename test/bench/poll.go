//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/test/hosts"
)

// pollSizes are the clusters whose agents' polling is measured; pollExtra is how often an
// agent is asked beyond that, to find out what one answer costs.
var pollSizes = []int{3, 5, 7}

const pollExtra = 2000

// measurePoll watches agents at rest, and what it costs that each reads all others.
func measurePoll(ctx context.Context, b *bench) error {
	for _, size := range pollSizes {
		if err := b.pollOf(ctx, size); err != nil {
			return fmt.Errorf("%d members: %w", size, err)
		}
	}
	return nil
}

func (b *bench) pollOf(ctx context.Context, size int) (err error) {
	f, err := b.launch(ctx, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// What the cluster's forming left behind has to settle, garbage included.
	if err := leaveAlone(ctx, 20*time.Second); err != nil {
		return err
	}
	rate, cpu, err := b.polled(ctx, f)
	if err != nil {
		return err
	}
	bytes, cost, err := onePoll(ctx, f.Hosts()[0])
	if err != nil {
		return err
	}
	of := fmt.Sprintf("%d members at rest: ", size)
	b.add("poll", of+"polls of others a second, one agent", "polls", rate)
	var volume, share []float64
	for _, r := range rate {
		volume = append(volume, r*bytes/1000)
		share = append(share, 100*r*cost.Seconds())
	}
	b.add("poll", of+"bytes a second for them, both ways", "kB", volume)
	b.add("poll", of+"CPU for them, asking and answering, of one core", "%", share)
	b.add("poll", of+"CPU of an agent, of one core, all it does", "%", cpu)
	return nil
}

// polled watches for half the time of rest: polls a second and CPU of each agent.
func (b *bench) polled(ctx context.Context, f *hosts.Fleet) (rate, cpu []float64, err error) {
	type state struct {
		polls float64
		cpu   time.Duration
	}
	look := func(h *hosts.Host) (s state, err error) {
		if s.cpu, err = cpuTime(h.Machine().UnitPID(hosts.AgentUnit)); err == nil {
			s.polls, err = pollsOf(ctx, h)
		}
		return s, err
	}
	before := map[*hosts.Host]state{}
	began := time.Now()
	for _, h := range f.Hosts() {
		if before[h], err = look(h); err != nil {
			return nil, nil, err
		}
	}
	if err := leaveAlone(ctx, b.rest/2); err != nil {
		return nil, nil, err
	}
	took := time.Since(began).Seconds()
	for _, h := range f.Hosts() {
		now, err := look(h)
		if err != nil {
			return nil, nil, err
		}
		rate = append(rate, (now.polls-before[h].polls)/took)
		cpu = append(cpu, 100*(now.cpu-before[h].cpu).Seconds()/took)
	}
	return rate, cpu, nil
}

// pollsOf reads from an agent's metrics how often it has read another one.
func pollsOf(ctx context.Context, h *hosts.Host) (float64, error) {
	text, err := h.Get(ctx, h.MetricsURL())
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "quorumd_peer_poll_seconds_count "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.New("the agent's metrics do not tell its polls")
}

// counted counts what goes over a connection, both ways.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// onePoll asks an agent many times, as agents do, and gives the bytes that one poll carries (of
// HTTP; TCP's and IP's headers are not counted) and the CPU time of it, of who asks and
// who answers together.
func onePoll(ctx context.Context, h *hosts.Host) (size float64, cpu time.Duration, err error) {
	var carried atomic.Int64
	client := peer.NewClient(nil)
	t, ok := client.Transport.(*http.Transport)
	if !ok {
		return 0, 0, errors.New("the agents' client has another transport")
	}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return counted{conn, &carried}, err
	}
	defer client.CloseIdleConnections()
	u, err := url.Parse(h.StatusURL())
	if err != nil {
		return 0, 0, err
	}
	pid := h.Machine().UnitPID(hosts.AgentUnit)
	before, err := cpuTime(pid)
	if err != nil {
		return 0, 0, err
	}
	own, err := ownCPU()
	if err != nil {
		return 0, 0, err
	}
	for range pollExtra {
		if _, err := peer.Fetch(ctx, client, u.Scheme+"://"+u.Host); err != nil {
			return 0, 0, err
		}
	}
	after, err := cpuTime(pid)
	if err != nil {
		return 0, 0, err
	}
	ownAfter, err := ownCPU()
	if err != nil {
		return 0, 0, err
	}
	return float64(carried.Load()) / pollExtra, (after - before + ownAfter - own) / pollExtra, nil
}

// ownCPU is the CPU time of this process so far.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}
