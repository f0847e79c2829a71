//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Writer is an application of the cluster: it writes one key after another and
// keeps its own list of the writes that etcd acknowledged. A write whose outcome
// is unknown is given up, not repeated: it may be there or not.
type Writer struct {
	f      *Fleet
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	acked map[string]int64 // key -> revision that its acknowledgement named
	last  time.Time        // of the newest acknowledgement
	gap   time.Duration    // longest time between two of them
}

const (
	writerPrefix = "e2e/"
	writePause   = 20 * time.Millisecond // between two writes: load is not the point
	writeTimeout = 2 * time.Second
)

func startWriter(f *Fleet) *Writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writer{f: f, cancel: cancel, done: make(chan struct{}), acked: map[string]int64{}}
	go w.run(ctx)
	return w
}

// Stop ends the writing and prints how it went.
func (w *Writer) Stop() {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.f.t.Logf("writer: %d writes acknowledged, longest time without one %.2fs", len(w.acked), w.gap.Seconds())
}

// Acked is the number of acknowledged writes so far.
func (w *Writer) Acked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// LongestGap is the longest time between two acknowledgements so far.
func (w *Writer) LongestGap() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gap
}

func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	var client *clientv3.Client
	defer func() {
		if client != nil {
			client.Close()
		}
	}()
	tick := time.NewTicker(writePause)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if client == nil {
			endpoints := w.f.Endpoints()
			if len(endpoints) == 0 {
				continue // no machine yet
			}
			var err error
			if client, err = w.f.client(endpoints...); err != nil {
				continue
			}
		}
		key := fmt.Sprintf("%s%08d", writerPrefix, n)
		if err := w.write(ctx, client, key); err != nil {
			client.SetEndpoints(w.f.Endpoints()...) // machines come and go
		}
	}
}

func (w *Writer) write(ctx context.Context, client *clientv3.Client, key string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	resp, err := client.Put(ctx, key, "value of "+key)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !w.last.IsZero() {
		w.gap = max(w.gap, now.Sub(w.last))
	}
	w.last = now
	w.acked[key] = resp.Header.Revision
	return nil
}

// Check reads back every write that was acknowledged before it was called.
func (w *Writer) Check(ctx context.Context, client *clientv3.Client) error {
	w.mu.Lock()
	want := make(map[string]int64, len(w.acked))
	for key, rev := range w.acked {
		want[key] = rev
	}
	w.mu.Unlock()

	resp, err := client.Get(ctx, writerPrefix, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	for _, kv := range resp.Kvs {
		key := string(kv.Key)
		if rev, ok := want[key]; ok && kv.ModRevision == rev && string(kv.Value) == "value of "+key {
			delete(want, key)
		}
	}
	if len(want) == 0 {
		return nil
	}
	var lost []string
	for key, rev := range want {
		if lost = append(lost, fmt.Sprintf("%s at revision %d", key, rev)); len(lost) == 5 {
			break
		}
	}
	return fmt.Errorf("%d acknowledged writes are lost or changed, among them %s", len(want), strings.Join(lost, ", "))
}
