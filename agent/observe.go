package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// How often things are observed. At rest etcd is probed every 5 s (design: two
// polls and a little make a fact stale); closely means that a decision waits for
// the answer.
const (
	restEvery    = 5 * time.Second
	peersEvery   = 2 * time.Second // among members
	planEvery    = 250 * time.Millisecond
	closelyEvery = 500 * time.Millisecond
	spotEvery    = 5 * time.Second
	unitEvery    = 30 * time.Second // beside the signals, which come at once
	certsEvery   = 10 * time.Second // for warnings; handshakes look by themselves
	// Of a node that joins, and of the steward while one does.
	versionsEvery = 5 * time.Second
	watchRetry    = 5 * time.Second
	// Who waits for the lock is woken by what it waits for: see Lock.KeepQueued. Everybody
	// else need not look at each of many changes that follow each other.
	watchSpacing = 100 * time.Millisecond
	// What systemd shows as the unit's status may be that old.
	statusSpacing = 250 * time.Millisecond
	groupHistory  = 2 * time.Minute // two polls of the steward
	etcdTimeout   = 3 * time.Second
	probeTimeout  = time.Second
	peerTimeout   = time.Second
	awsTimeout    = 10 * time.Second
)

// observers makes one observer for each source.
func (a *Agent) observers() {
	add := func(name string, every time.Duration, poll func(context.Context)) {
		a.sources[name] = newObserver(name, every, poll)
	}
	add("target", a.opts.Poll, a.observeTarget)
	add("spot", spotEvery, a.observeSpot)
	add("group", 0, a.observeGroup)
	add("instances", 0, a.observeInstances)
	add("unit", unitEvery, a.observeUnitNow)
	add("data", restEvery, a.observeData)
	add("members", closelyEvery, a.observeMembers)
	add("health", closelyEvery, a.observeHealth)
	add("lock", closelyEvery, a.observeLock)
	add("peers", closelyEvery, a.observePeers)
	a.sources["peers"].jitter = 0.2 // agents that were started together must not ask together for ever
	add("versions", 0, a.observeVersions)
	if a.parts.Pulse != nil {
		add("pulse", restEvery, a.observePulse)
	}
	if a.parts.Machine != nil {
		add("login", loginEvery, a.observeLogin)
	}
	if a.parts.Services != nil {
		add("down", restEvery, a.observeDown)
	}
	if a.parts.Certs != nil {
		add("certificates", certsEvery, a.observeCertificates)
	}
}

func (a *Agent) observeTarget(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	began := a.now()
	v, err := a.parts.Metadata.Target(ctx)
	put(a.board, "target", func(v *policy.View) *policy.Fact[policy.Target] { return &v.Lifecycle }, v, began, err)
}

func (a *Agent) observeSpot(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	began := a.now()
	v, err := a.parts.Metadata.Spot(ctx)
	put(a.board, "spot", func(v *policy.View) *policy.Fact[policy.Notice] { return &v.Spot }, v, began, err)
}

// awsPatience is the longest pause between questions to AWS that fail: throttled
// or away, it gets fewer of them, and an open hook still hears of it soon.
const awsPatience = 10 * time.Second

// askAWS reports whether AWS may be asked again, or is still given time.
func (a *Agent) askAWS() bool {
	a.askMu.Lock()
	defer a.askMu.Unlock()
	return !a.now().Before(a.awsAgain)
}

// answeredAWS notes how a question to AWS went.
func (a *Agent) answeredAWS(err error) {
	a.askMu.Lock()
	defer a.askMu.Unlock()
	if err == nil {
		a.awsFailures, a.awsAgain = 0, time.Time{}
		return
	}
	a.awsFailures++
	a.awsAgain = a.now().Add(min(awsPatience, time.Second<<min(a.awsFailures, 4)))
}

func (a *Agent) observeGroup(ctx context.Context) {
	if !a.askAWS() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	began := a.now()
	v, err := a.parts.Group.Group(ctx)
	a.answeredAWS(err)
	put(a.board, "group", func(v *policy.View) *policy.Fact[policy.Group] { return &v.Group }, v, began, err)
}

func (a *Agent) observeInstances(ctx context.Context) {
	a.askMu.Lock()
	ids := slices.Clone(a.askEC2)
	a.askMu.Unlock()
	if len(ids) == 0 || !a.askAWS() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	began := a.now()
	v, err := a.parts.Group.Instances(ctx, ids)
	a.answeredAWS(err)
	if put(a.board, "instances", func(v *policy.View) *policy.Fact[map[policy.InstanceID]policy.Instance] { return &v.Instances }, v, began, err) {
		a.sources["peers"].now() // an address that was not known may lead to an agent
		a.sources["members"].now()
	}
}

func (a *Agent) observeUnit(ctx context.Context) error {
	return a.parts.States.Watch(ctx, func(u policy.Unit, err error) {
		if err != nil {
			a.sawUnit(u, a.now(), err)
			return
		}
		// What is reported was read a moment ago, before or after what we did since: it
		// only says when to look.
		a.sources["unit"].now()
	})
}

// observeUnitNow reads the state anew: a signal from before an action's end is no
// proof of what came after it.
func (a *Agent) observeUnitNow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	began := a.now()
	u, err := a.parts.States.State(ctx)
	a.sawUnit(u, began, err)
}

func (a *Agent) sawUnit(u policy.Unit, at time.Time, err error) {
	if put(a.board, "unit", func(v *policy.View) *policy.Fact[policy.Unit] { return &v.Unit }, u, at, err) {
		a.sources["data"].now()
	}
}

// watchCluster has members and lock read at once when the cluster's keys change;
// polling remains what decisions rest on.
func (a *Agent) watchCluster(ctx context.Context) {
	for ctx.Err() == nil {
		if a.board.snapshot().Members.Known() {
			look := seldom(watchSpacing, func() {
				a.sources["members"].now()
				a.sources["lock"].now()
			})
			err := a.parts.Finder.Watch(ctx, look.now)
			look.stop()
			if err != nil && ctx.Err() == nil {
				a.log.Debug("watch of the cluster's keys ended", "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchRetry):
		}
	}
}

func (a *Agent) observeData(context.Context) {
	began := a.now()
	v, err := a.parts.Disk.Data()
	put(a.board, "data", func(v *policy.View) *policy.Fact[policy.Data] { return &v.Data }, v, began, err)
}

func (a *Agent) observeCertificates(context.Context) {
	began := a.now()
	v := a.parts.Certs.Certificates()
	put(a.board, "certificates", func(v *policy.View) *policy.Fact[[]policy.Certificate] { return &v.Certificates }, v, began, nil)
}

func (a *Agent) observeMembers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	a.parts.Finder.SetEndpoints(a.endpoints())
	began := a.now()
	v, err := a.parts.Finder.Members(ctx)
	if put(a.board, "members", func(v *policy.View) *policy.Fact[policy.MemberList] { return &v.Members }, v, began, err) {
		a.sources["health"].now()
		a.sources["versions"].now() // now there is somebody to ask
	}
}

// observeVersions reads which etcd this node would run, and what the cluster's members
// have agreed on.
func (a *Agent) observeVersions(ctx context.Context) {
	began := a.now()
	here, cancel := context.WithTimeout(ctx, awsTimeout)
	own, err := a.parts.Version.Version(here)
	cancel()
	put(a.board, "etcd's version", func(v *policy.View) *policy.Fact[string] { return &v.EtcdVersion }, own, began, err)
	v := a.board.snapshot()
	if !v.Members.Ever() {
		return // no cluster found yet
	}
	var urls []string
	for _, m := range v.Members.Value.Members {
		if m.Name != "" && m.ID != v.Record.Member {
			urls = append(urls, m.PeerURLs...)
		}
	}
	if len(urls) == 0 { // a cluster of this node alone
		for _, m := range v.Members.Value.Members {
			urls = append(urls, m.PeerURLs...)
		}
	}
	began = a.now()
	ctx, cancel = context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	cluster, err := a.parts.Finder.ClusterVersion(ctx, urls)
	put(a.board, "the cluster's version", func(v *policy.View) *policy.Fact[string] { return &v.ClusterVersion }, cluster, began, err)
}

func (a *Agent) observeLock(ctx context.Context) {
	if v := a.board.snapshot(); !v.Members.Ever() {
		return // no cluster found yet: no lock to read
	}
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	began := a.now()
	v, err := a.parts.Lock.Lock(ctx)
	if s := a.shown.Load(); err == nil && s != nil && v.Revision < s.revision && began.Before(s.ended) {
		return // an action of this node's was answered meanwhile, and has shown more
	}
	put(a.board, "lock", func(v *policy.View) *policy.Fact[policy.Lock] { return &v.Lock }, v, began, err)
}

// observeHealth probes every member of the list, and what listens on this node's
// own client port, each by itself: one that hangs delays no other.
func (a *Agent) observeHealth(ctx context.Context) {
	v := a.board.snapshot()
	urls := map[policy.MemberID]string{}
	for _, m := range v.Members.Value.Members {
		if len(m.ClientURLs) > 0 {
			urls[m.ID] = m.ClientURLs[0]
		}
	}
	a.forgetHealth(urls)
	var wg sync.WaitGroup
	for id, u := range urls {
		wg.Go(func() { a.probe(ctx, id, u) })
	}
	local := v.Self.ClientURL
	if u := v.Unit; u.Known() && !u.Value.Down() && !contains(urls, local) {
		wg.Go(func() { a.probeLocal(ctx, local) })
	}
	wg.Wait()
}

func contains(urls map[policy.MemberID]string, u string) bool {
	for _, have := range urls {
		if have == u {
			return true
		}
	}
	return false
}

func (a *Agent) forgetHealth(keep map[policy.MemberID]string) {
	a.board.mu.Lock()
	defer a.board.mu.Unlock()
	for id := range a.board.view.Health {
		if _, ok := keep[id]; !ok {
			delete(a.board.view.Health, id)
		}
	}
}

func (a *Agent) probe(ctx context.Context, id policy.MemberID, url string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	began := a.now()
	h, err := a.parts.Finder.Probe(ctx, url)
	var was, is string
	var ever bool
	turned := false
	a.board.change(func(v *policy.View) {
		old := v.Health[id]
		f := renew(old, h, began, err)
		v.Health[id] = f
		if url == v.Self.ClientURL {
			turned = serves(v.Local) != serves(f)
			v.Local = f
		}
		was, is, ever = old.Err, f.Err, old.Ever()
	})
	a.board.say("health of member "+id.String(), was, is, ever, err)
	if turned {
		a.lookAtPulse()
	}
}

func (a *Agent) probeLocal(ctx context.Context, url string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	began := a.now()
	h, err := a.parts.Finder.Probe(ctx, url)
	before := serves(a.board.snapshot().Local)
	put(a.board, "local member", func(v *policy.View) *policy.Fact[policy.Health] { return &v.Local }, h, began, err)
	if before != (err == nil && h.Serves) {
		a.lookAtPulse()
	}
}

// splitIDs undoes the joining of ids in a duty.
func splitIDs(s string) []policy.InstanceID {
	var out []policy.InstanceID
	for id := range strings.SplitSeq(s, ",") {
		if id != "" {
			out = append(out, policy.InstanceID(id))
		}
	}
	return out
}
