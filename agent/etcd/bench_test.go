package etcd

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

// BenchmarkRest measures what an agent does at rest: one probe of each of three
// members, one member list and one look at the lock. cpu%@5s is this process's
// share of one core if that happens every 5 s.
func BenchmarkRest(b *testing.B) {
	cl := etcdproc.Start(b, abc, etcdproc.Options{})
	c, err := New(Config{Cluster: "x", Self: policy.Self{Instance: "i-a", ClientURL: cl.Member("i-a").ClientURL}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	round := func() {
		c.SetEndpoints(cl.ClientURLs())
		var wg sync.WaitGroup
		for _, u := range cl.ClientURLs() {
			wg.Go(func() {
				if _, err := c.Probe(b.Context(), u); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if _, err := c.Members(b.Context()); err != nil {
			b.Error(err)
		}
		if _, err := c.Lock(b.Context()); err != nil {
			b.Error(err)
		}
	}
	round()
	start := cpu(b)
	n := 0
	for b.Loop() {
		round()
		n++
		time.Sleep(20 * time.Millisecond) // from idle, as every 5 s: wake-ups count
	}
	each := (cpu(b) - start) / time.Duration(n)
	b.ReportMetric(float64(each.Microseconds()), "cpu-µs/round")
	b.ReportMetric(100*each.Seconds()/5, "cpu%@5s")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
