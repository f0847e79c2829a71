package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// WriterConfig says where and how fast a Writer writes.
type WriterConfig struct {
	// Endpoints gives the client URLs to try now; machines come and go. None: the
	// writer waits.
	Endpoints func() []string
	// Client makes a client of etcd.
	Client func(endpoints ...string) (*clientv3.Client, error)

	Prefix  string        // of all keys; default "writer/"
	Pause   time.Duration // between two writes; default 20 ms, negative: none
	Timeout time.Duration // of one write; default 2 s
}

func (c *WriterConfig) setDefaults() {
	if c.Prefix == "" {
		c.Prefix = "writer/"
	}
	if c.Pause == 0 {
		c.Pause = 20 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = 2 * time.Second
	}
}

// Writer is an application of the cluster: it writes one key after another and
// keeps its own list of the writes that etcd acknowledged. A write whose outcome
// is unknown is given up, not repeated: it may be there or not.
type Writer struct {
	cfg    WriterConfig
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	acked map[string]int64 // key -> revision that its acknowledgement named
	times []time.Time      // of the acknowledgements, in order
	ended time.Time        // when the writing stopped; zero: it goes on
}

// StartWriter begins to write. The caller stops it.
func StartWriter(cfg WriterConfig) *Writer {
	cfg.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writer{cfg: cfg, cancel: cancel, done: make(chan struct{}), acked: map[string]int64{}}
	go w.run(ctx)
	return w
}

// Stop ends the writing and returns when it has ended.
func (w *Writer) Stop() {
	w.cancel()
	<-w.done
}

// Acked is the number of acknowledged writes so far.
func (w *Writer) Acked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// AckedKey is the key of a write that was acknowledged, empty before the first.
func (w *Writer) AckedKey() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.acked {
		return key
	}
	return ""
}

// Stall is the longest time that a write took which overlaps from..to, from the
// moment when it was due (the pause after the acknowledgement of the one before)
// until one was acknowledged, tries that were given up included. As an application
// feels it, so with its beginning before from, and with its end after to if it has
// one by now. Before the first acknowledgement there is none.
func (w *Writer) Stall(from, to time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := w.ended
	if end.IsZero() {
		end = time.Now()
	}
	longest := time.Duration(0)
	first, _ := slices.BinarySearchFunc(w.times, from, time.Time.Compare)
	for i := max(first-1, 0); i < len(w.times) && w.times[i].Before(to); i++ {
		next := end
		if i+1 < len(w.times) {
			next = w.times[i+1]
		}
		if next.After(from) {
			longest = max(longest, next.Sub(w.times[i])-max(w.cfg.Pause, 0))
		}
	}
	return longest
}

// LongestStall is the Stall of all the time so far.
func (w *Writer) LongestStall() time.Duration { return w.Stall(time.Time{}, time.Now()) }

func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended = time.Now()
	}()
	var client *clientv3.Client
	defer func() {
		if client != nil {
			client.Close()
		}
	}()
	for n := 0; pause(ctx, w.cfg.Pause); n++ {
		endpoints := w.cfg.Endpoints()
		if client == nil {
			if len(endpoints) == 0 && pause(ctx, 10*time.Millisecond) {
				continue // no machine yet
			}
			var err error
			if client, err = w.cfg.Client(endpoints...); err != nil {
				continue
			}
		}
		key := fmt.Sprintf("%s%08d", w.cfg.Prefix, n)
		if err := w.write(ctx, client, key); err != nil {
			client.SetEndpoints(w.cfg.Endpoints()...) // machines come and go
			pause(ctx, time.Millisecond)              // a refusal may come at once
		}
	}
}

// pause waits d, and reports false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

func (w *Writer) write(ctx context.Context, client *clientv3.Client, key string) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	resp, err := client.Put(ctx, key, "value of "+key)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times = append(w.times, time.Now())
	w.acked[key] = resp.Header.Revision
	return nil
}

// LostError tells of acknowledged writes that are not there, or not as written.
type LostError struct{ Writes []string }

func (e *LostError) Error() string {
	some := e.Writes[:min(len(e.Writes), 5)]
	return fmt.Sprintf("%d acknowledged writes are lost or changed, among them %s", len(e.Writes), strings.Join(some, ", "))
}

// Check reads back every write that was acknowledged before it was called. A
// *LostError names those that are missing; any other error: it could not read.
func (w *Writer) Check(ctx context.Context, client *clientv3.Client) error {
	w.mu.Lock()
	want := make(map[string]int64, len(w.acked))
	for key, rev := range w.acked {
		want[key] = rev
	}
	w.mu.Unlock()

	resp, err := client.Get(ctx, w.cfg.Prefix, clientv3.WithPrefix())
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
	lost := &LostError{}
	for key, rev := range want {
		lost.Writes = append(lost.Writes, fmt.Sprintf("%s at revision %d", key, rev))
	}
	slices.Sort(lost.Writes)
	return lost
}
