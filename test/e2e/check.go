//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/lab"
)

// Members by name, which for the agent's etcds is the instance id.
type Members map[string]*etcdserverpb.Member

// Settle waits until the fleet is as the group wants it and etcd agrees, then
// checks all that must hold now and at every moment before, and returns the
// members. It fails the test otherwise.
func (f *Fleet) Settle(ctx context.Context) Members {
	f.t.Helper()
	begin := time.Now()
	var members Members
	err := lab.Until(ctx, 250*time.Millisecond, "the fleet to settle", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		members, err = f.settled(ctx)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Logf("settled after %.1fs: %s", time.Since(begin).Seconds(), strings.Join(slices.Sorted(maps.Keys(members)), " "))
	f.checkWrites(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.broken...); err != nil {
		f.t.Fatal(err)
	}
	return members
}

func (f *Fleet) checkWrites(ctx context.Context) {
	f.t.Helper()
	// One more acknowledgement first: the cluster takes writes again.
	before := f.Writer.Acked()
	if err := lab.Until(ctx, 50*time.Millisecond, "a write", func(context.Context) error {
		if n := f.Writer.Acked(); n == before {
			return fmt.Errorf("none since the %d before", n)
		}
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		f.t.Fatal(err)
	}
	defer client.Close()
	if err := f.Writer.Check(ctx, client); err != nil {
		f.t.Fatal(err)
	}
}

// settled tells what is not as it should be: the group has the instances that it
// wants, all in service; those, and no others, are voters of one cluster that
// has one leader; and agent and etcd run on each under systemd.
func (f *Fleet) settled(ctx context.Context) (Members, error) {
	g, _ := f.Cloud.Group(group)
	if len(g.Instances) != g.Desired {
		return nil, fmt.Errorf("group has %d instances, wants %d", len(g.Instances), g.Desired)
	}
	for _, inst := range g.Instances {
		if inst.Lifecycle != fakeaws.LifecycleInService {
			return nil, fmt.Errorf("%s is %s", inst.ID, inst.Lifecycle)
		}
	}
	members, err := f.members(ctx)
	if err != nil {
		return nil, err
	}
	leaders := map[uint64]bool{}
	for _, inst := range g.Instances {
		m := members[inst.ID]
		if m == nil || m.IsLearner || len(members) != len(g.Instances) {
			return nil, fmt.Errorf("members %s, in service %s", describe(members), ids(g.Instances))
		}
		leader, err := f.checkMember(ctx, inst, m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", inst.ID, err)
		}
		leaders[leader] = true
	}
	if len(leaders) != 1 {
		return nil, fmt.Errorf("members see different leaders: %x", slices.Collect(maps.Keys(leaders)))
	}
	return members, nil
}

// checkMember asks one member itself and the systemd beside it.
func (f *Fleet) checkMember(ctx context.Context, inst fakeaws.Instance, m *etcdserverpb.Member) (leader uint64, err error) {
	client, err := f.client(clientURL(inst))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	status, err := client.Status(ctx, clientURL(inst))
	if err != nil {
		return 0, err
	}
	if status.Header.MemberId != m.ID || status.Leader == 0 || len(status.Errors) > 0 {
		return 0, fmt.Errorf("member %x, listed as %x, leader %x, errors %q",
			status.Header.MemberId, m.ID, status.Leader, status.Errors)
	}
	if err := f.checkCluster(status.Header.ClusterId); err != nil {
		return 0, err
	}
	for _, unit := range []string{"etcd-member.service", "quorumd.service"} {
		if out, err := f.Host(inst.ID).Exec(ctx, "systemctl", "is-active", unit); err != nil {
			return 0, fmt.Errorf("%s is %s", unit, strings.TrimSpace(string(out)))
		}
	}
	return status.Leader, nil
}

// checkCluster tells a second cluster from the one there was. It is never put
// right again, so it also counts as broken for good.
func (f *Fleet) checkCluster(id uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clusterID == 0 {
		f.clusterID = id
	}
	if f.clusterID == id {
		return nil
	}
	err := fmt.Errorf("cluster %x, but there was %x", id, f.clusterID)
	f.broken = append(f.broken, err)
	return err
}

// members by a linearizable read.
func (f *Fleet) members(ctx context.Context) (Members, error) {
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	resp, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	members := Members{}
	for _, m := range resp.Members {
		name := m.Name
		if name == "" {
			name = "unstarted-" + strings.Join(m.PeerURLs, ",")
		}
		if members[name] != nil {
			return nil, fmt.Errorf("two members named %s", name)
		}
		members[name] = m
	}
	return members, nil
}

// Leader is the instance whose member leads.
func (f *Fleet) Leader(ctx context.Context) string {
	f.t.Helper()
	members, err := f.members(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, inst := range f.Instances() {
		client, err := f.client(clientURL(inst))
		if err != nil {
			f.t.Fatal(err)
		}
		status, err := client.Status(ctx, clientURL(inst))
		client.Close()
		if err == nil && members[inst.ID] != nil && status.Leader == members[inst.ID].ID {
			return inst.ID
		}
	}
	f.t.Fatal("no member says that it leads")
	return ""
}

// checkEvents holds the group's events against the member list, as they come. The
// lists are read after the event: a voter that is in service does not lose its
// vote right after, and who left does not come back.
func (f *Fleet) checkEvents() func(fakeaws.Event) {
	told := map[string]bool{} // to go, by the group, while its machine still ran
	return func(e fakeaws.Event) {
		var ok func(Members) bool
		switch e.Kind {
		case fakeaws.Notice:
			told[e.Instance] = true
			return
		case fakeaws.InService:
			ok = func(m Members) bool {
				inst, _ := f.Cloud.Instance(e.Instance)
				voter := m[e.Instance] != nil && !m[e.Instance].IsLearner
				return voter || !inst.NoticeAt.IsZero() // told to go since: we look too late
			}
		case fakeaws.BecameShuttingDown:
			if !told[e.Instance] {
				return // lost, not let go: its member goes after it
			}
			ok = func(m Members) bool { return m[e.Instance] == nil }
		default:
			return
		}
		if err := f.checkMembersAt(e, ok); err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			if !f.abrupt { // else the test is over
				f.broken = append(f.broken, err)
			}
		}
	}
}

func (f *Fleet) checkMembersAt(e fakeaws.Event, ok func(Members) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var members Members
	err := lab.Until(ctx, 200*time.Millisecond, "the member list", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		members, err = f.members(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("event %s %s: %w", e.Kind, e.Instance, err)
	}
	if !ok(members) {
		return fmt.Errorf("event %s %s, but the members are %s", e.Kind, e.Instance, describe(members))
	}
	return nil
}

// Since returns the events of a kind after the first n of the log.
func (f *Fleet) Since(n int, kinds ...fakeaws.EventKind) (found []fakeaws.Event) {
	for _, e := range f.Cloud.Events()[n:] {
		if slices.Contains(kinds, e.Kind) {
			found = append(found, e)
		}
	}
	return found
}

func describe(members Members) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name].IsLearner {
			name += " (learner)"
		}
		words = append(words, name)
	}
	return "[" + strings.Join(words, " ") + "]"
}

func ids(instances []fakeaws.Instance) (ids []string) {
	for _, inst := range instances {
		ids = append(ids, inst.ID)
	}
	return ids
}

// dump writes, of a test that failed, what tells why.
func (f *Fleet) dump() {
	if !f.t.Failed() {
		return
	}
	dir := filepath.Join(lab.Repo(), ".cache/e2e", strings.ReplaceAll(f.t.Name(), "/", "_"))
	_ = os.RemoveAll(dir) // of an earlier run
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var events strings.Builder
	for _, e := range f.Cloud.Events() {
		fmt.Fprintf(&events, "%s %-16s %s %s %s %s %s\n", e.At.Format("15:04:05.000"), e.Kind, e.Instance, e.Hook, e.Result, e.By, e.Note)
	}
	save := func(name string, data []byte, err error) {
		if err != nil {
			data = append(data, err.Error()...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			f.t.Error(err)
		}
	}
	save("events.log", []byte(events.String()), nil)
	f.mu.Lock()
	hosts := maps.Clone(f.hosts)
	f.mu.Unlock()
	for id, h := range hosts {
		for _, unit := range []string{"quorumd.service", "etcd-member.service", ""} {
			data, err := h.Journal(ctx, unit)
			save(id+"."+strings.TrimSuffix("journal."+unit, "."), data, err)
		}
	}
	f.t.Logf("journals and events: %s\n%s", dir, events.String())
}
