package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Version is a version of etcd.
type Version struct{ Major, Minor, Patch int }

// ParseVersion reads "3.6.16" and what image tags make of it ("v3.6.16-arm64"). A
// version without a patch counts as its first.
func ParseVersion(s string) (Version, bool) {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "-")
	s, _, _ = strings.Cut(s, "+")
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return Version{}, false
	}
	var n [3]int
	for i, p := range parts {
		u, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return Version{}, false
		}
		n[i] = int(u)
	}
	return Version{n[0], n[1], n[2]}, true
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Line is the minor version, such as "3.6": etcd compares no more than that.
func (v Version) Line() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Before reports whether v is older than o.
func (v Version) Before(o Version) bool {
	if v.Major != o.Major {
		return v.Major < o.Major
	}
	if v.Minor != o.Minor {
		return v.Minor < o.Minor
	}
	return v.Patch < o.Patch
}

func (v Version) sameLine(o Version) bool { return v.Major == o.Major && v.Minor == o.Minor }

// Misfit says why an etcd of version v may not join a cluster of this cluster version
// (the lowest minor version among its members): it must be of the cluster's minor
// version or of the next one. Empty: it may.
//
// Tried on 3.5.35, 3.6.16 and 3.7.3. An etcd that is behind refuses to start
// ("incompatible with current running cluster"), before it has written anything. One
// that is two ahead does start, is seen in the member list under its name, and panics
// as soon as it applies entries of the old version's log ("cannot parse invalid
// wire-format data"): etcd itself does not protect anybody from that.
func Misfit(v, cluster Version) Reason {
	switch {
	case v.Major != cluster.Major && v.Before(cluster), v.Major == cluster.Major && v.Minor < cluster.Minor:
		return VersionBehind
	case v.Major != cluster.Major, v.Minor > cluster.Minor+1:
		return VersionAhead
	}
	return ""
}

// versionFresh is how old the cluster's version may be: it only ever rises, and only
// when the last member of the old version is gone.
const versionFresh = 30 * time.Second

// undecided is the cluster version until all members of a new cluster have told
// theirs.
var undecided = Version{Major: 3}

// clusterVersion is what etcd's members have agreed on.
func (p *pass) clusterVersion() (Version, bool) {
	f := p.v.ClusterVersion
	if !fresh(p, SourceVersions, f, versionFresh) {
		return Version{}, false
	}
	v, ok := ParseVersion(f.Value)
	return v, ok && v != undecided
}

// besideSame reports whether a healthy voter is of the same minor version: where that
// one can be a member, another can.
func (p *pass) besideSame(v Version) bool {
	for _, m := range p.list.Members {
		if o, ok := ParseVersion(p.v.Health[m.ID].Value.Version); ok && o.sameLine(v) && p.healthy(m, p.cfg.StaleAfter) {
			return true
		}
	}
	return false
}

// misfit says why an etcd of version v may not join now, with the details; an empty
// Reason: it may.
func (p *pass) misfit(v Version) (Reason, string) {
	if p.besideSame(v) {
		return "", ""
	}
	cluster, ok := p.clusterVersion()
	if !ok {
		return VersionUnknown, strings.TrimSuffix("no member has told the cluster's version yet: "+p.v.ClusterVersion.Err, ": ")
	}
	switch r := Misfit(v, cluster); r {
	case VersionBehind:
		return r, fmt.Sprintf("etcd here is %s, the cluster is at %s: it needs %s or the next minor version", v, cluster.Line(), cluster.Line())
	case VersionAhead:
		return r, fmt.Sprintf("etcd here is %s, the cluster is at %s: an upgrade goes one minor version at a time, on all members", v, cluster.Line())
	default:
		return r, ""
	}
}

// Unfit is what this node learned when etcd here turned out not to run in the cluster.
type Unfit struct {
	// Declared is what etcd's unit said it would start, empty if that is unknown, and
	// Cluster the cluster's version then: with others it is tried anew.
	Declared, Cluster string
	// Seen is the version that did run, empty if none ever answered.
	Seen string
	// Since is when the learner was taken out; zero: nothing was learned.
	Since time.Time
}

const (
	// failsFor is how long etcd must fail to run, without any progress, before a
	// version that may be the cause costs it its place: six starts of the units we ship.
	failsFor = time.Minute
	// unfitAgain is how long it then stays out. Nothing here tells when the cause is gone
	// (entries of 3.5 in the log go after some hundred writes), so it is tried again, and
	// seldom: every try adds a learner and moves its data aside.
	unfitAgain = time.Hour
)

// awaitVersion is the verdict of a node whose etcd does not fit the cluster: it waits,
// and neither adds itself nor abandons its launch, for the group would only launch
// another one of the same version.
//
// Where etcd's version on this node cannot be told at all the node goes on: then it is
// etcd that refuses (an older one), or its own word once it runs (a newer one), and
// either is acted on by withdrawUnfit.
func (p *pass) awaitVersion() (Verdict, bool) {
	here, unfit := p.v.EtcdVersion, p.next.Unfit
	wait := func(r Reason, detail string, again time.Time) (Verdict, bool) {
		// The clock of giving up runs only while this node could join.
		p.next.LaunchingSince, p.next.GaveUp = time.Time{}, false
		return Verdict{Reason: r, Detail: detail, Recheck: again}, true
	}
	if !here.Ever() && here.Err == "" {
		return wait(VersionUnknown, "etcd's version on this node is being read", time.Time{})
	}
	if !unfit.Since.IsZero() && unfit.Declared == here.Value {
		if seen, ok := ParseVersion(unfit.Seen); ok {
			if r, detail := p.misfit(seen); r != "" {
				return wait(r, detail, time.Time{})
			}
		} else if again := unfit.Since.Add(unfitAgain); unfit.Cluster == p.v.ClusterVersion.Value && p.now.Before(again) {
			r, detail := p.unfitReason()
			return wait(r, detail, again)
		}
	}
	if v, ok := ParseVersion(here.Value); ok {
		if r, detail := p.misfit(v); r != "" {
			return wait(r, detail, time.Time{})
		}
	}
	return Verdict{}, false
}

// unfitReason is why an etcd that does not run is not tried again.
func (p *pass) unfitReason() (Reason, string) {
	cluster := p.v.ClusterVersion.Value
	if v, ok := ParseVersion(p.v.EtcdVersion.Value); ok {
		return VersionAhead, fmt.Sprintf("etcd %s does not run in this cluster of %s; its journal has the reason (3.7 cannot read what 3.5 left in the log: "+
			"some hundred writes must follow the last member of 3.5)", v, cluster)
	}
	return VersionUnknown, fmt.Sprintf("etcd does not run in this cluster of %s, and its version cannot be told (%s); its journal has the reason", cluster, p.v.EtcdVersion.Err)
}

// withdrawUnfit takes this node's own learner out that cannot be a member with its
// version: by its own word, or because it does not run and no voter has its version.
func (p *pass) withdrawUnfit(m Member) (Verdict, bool) {
	if !m.Learner || !p.listNow() {
		return Verdict{}, false
	}
	out := func(r Reason, detail, seen string) (Verdict, bool) {
		p.next.Unfit = Unfit{Declared: p.v.EtcdVersion.Value, Cluster: p.v.ClusterVersion.Value, Seen: seen, Since: p.now}
		return Verdict{Reason: r, Detail: detail,
			Action: RemoveMember{Member: m.ID, Instance: p.v.Self.Instance, Learner: true, Why: string(r)}}, true
	}
	since := p.failingSince(m)
	cluster, ok := p.clusterVersion()
	if !ok {
		return Verdict{}, false
	}
	word := p.v.Health[m.ID].Value.Version
	if v, ok := ParseVersion(word); ok && Misfit(v, cluster) != "" && p.noVoterRuns(v) {
		r, detail := p.misfit(v)
		return out(r, detail, word)
	}
	if since.IsZero() || !p.suspicious(cluster) {
		return Verdict{}, false
	}
	if at := since.Add(failsFor); p.now.Before(at) {
		p.recheck = earlier(p.recheck, at)
		return Verdict{}, false
	}
	r, detail := p.unfitReason()
	return out(r, detail, "")
}

// suspicious reports whether an etcd that does not run here may fail because of its
// version: one that nobody could tell, or that no voter has shown to work.
func (p *pass) suspicious(cluster Version) bool {
	v, ok := ParseVersion(p.v.EtcdVersion.Value)
	if !ok {
		return p.v.EtcdVersion.Err != ""
	}
	return !v.sameLine(cluster) && p.noVoterRuns(v)
}

// noVoterRuns reports whether every voter's version is known, and none is of v's minor
// version.
func (p *pass) noVoterRuns(v Version) bool {
	for _, m := range p.list.Members {
		o, ok := ParseVersion(p.v.Health[m.ID].Value.Version)
		if !m.Learner && (!ok || o.sameLine(v)) {
			return false
		}
	}
	return true
}

// failingSince notes since when etcd on this node ends again and again without having
// made any progress as this learner; zero while it has not failed.
func (p *pass) failingSince(m Member) time.Time {
	u := p.v.Unit
	failing := u.Known() && u.Value.Failing()
	if moved := p.next.Learners[m.ID].Since.After(p.next.FailingSince); moved || p.next.FailingSince.IsZero() {
		p.next.FailingSince = time.Time{}
		if failing {
			p.next.FailingSince = p.now
		}
	}
	return p.next.FailingSince
}

// Known faults of old patch versions, each with what it means here.
var (
	promotesSafely = Version{3, 5, 7}  // before it a learner that never started can be promoted (etcd#15096)
	keepsVotes     = Version{3, 5, 26} // before it a promotion may not be kept, which comes to light with 3.6 (etcd#19557, #20793, #20967)
	soundOf36      = Version{3, 6, 4}  // etcd#20387
	readyFor37     = Version{3, 6, 11}
)

// unsafeLeader says why the leader must not be asked for a promotion: it is the leader
// that checks whether the learner may.
func unsafeLeader(leader Fact[Health]) (Reason, string) {
	v, ok := ParseVersion(leader.Value.Version)
	switch {
	case !leader.Ever() || !ok:
		return PromotionUnhealthy, "the leader's version is not known"
	case v.Before(promotesSafely):
		return PromotionUnsafe, fmt.Sprintf("the leader runs etcd %s; before %s a promotion is not safe", v, promotesSafely)
	}
	return "", ""
}

// versionForbids says why a learner of a version is not promoted: the leader's or its
// own. Its own node takes it out.
func (p *pass) versionForbids(learner string) (Reason, string) {
	if r, detail := unsafeLeader(p.v.Health[p.v.Health[p.own].Value.Leader]); r != "" {
		return r, detail
	}
	v, ok := ParseVersion(learner)
	if !ok {
		return VersionUnknown, "the learner does not tell its version"
	}
	return p.misfit(v)
}

// versionWarnings names members whose version is known to be faulty.
func (p *pass) versionWarnings(warn func(name, format string, args ...any)) {
	newest, _ := ParseVersion(p.v.EtcdVersion.Value) // of a node that joins
	versions := map[MemberID]Version{}
	for _, m := range p.list.Members {
		if v, ok := ParseVersion(p.v.Health[m.ID].Value.Version); ok {
			versions[m.ID] = v
			if newest.Before(v) {
				newest = v
			}
		}
	}
	for _, m := range p.list.Members {
		v, ok := versions[m.ID]
		if !ok {
			continue
		}
		who := fmt.Sprintf("member %s (%s) runs etcd %s", m.ID, p.list.Instance(m), v)
		switch {
		case v.Before(promotesSafely):
			warn(WarnEtcdOld, "%s: before %s a learner is not promoted while it leads; update it in place", who, promotesSafely)
		case v.Before(keepsVotes):
			warn(WarnEtcdOld, "%s: before %s a promotion may be forgotten; update within 3.5 before anything else", who, keepsVotes)
		case v.Minor == soundOf36.Minor && v.Major == soundOf36.Major && v.Before(soundOf36):
			warn(WarnEtcdOld, "%s: use %s or later", who, soundOf36)
		}
		switch {
		case v.Before(keepsVotes) && !newest.Before(Version{3, 6, 0}):
			warn(WarnUpgradeUnsafe, "%s beside %s: an upgrade to 3.6 begins at %s", who, newest.Line(), keepsVotes)
		case v.Before(readyFor37) && !newest.Before(Version{3, 7, 0}):
			warn(WarnUpgradeUnsafe, "%s beside %s: an upgrade to 3.7 begins at %s", who, newest.Line(), readyFor37)
		}
	}
}
