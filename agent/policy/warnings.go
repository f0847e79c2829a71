package policy

import (
	"fmt"
	"time"
)

// Warning is something that an operator should look at although nothing is being
// done about it.
type Warning struct {
	// Name is an enum: the log field and the metric label.
	Name   string
	Detail string
}

// The warnings.
const (
	WarnNoLaunchHook    = "NoLaunchHook"       // instances count as in service before they vote
	WarnNoTerminateHook = "NoTerminateHook"    // instances end without time to leave etcd
	WarnHooksUnknown    = "HooksUnknown"       // the group's hooks cannot be read
	WarnTagConflict     = "TagConflict"        // the group bears another cluster's tag
	WarnHoldOld         = "HoldOld"            // the disruption lock has been held for long
	WarnCapacity        = "Capacity"           // voters are not as many as the group wants
	WarnNoSpace         = "NoSpace"            // an alarm that refuses writes
	WarnCorrupt         = "Corrupt"            // an alarm that says a member's data is wrong
	WarnCertBroken      = "CertificateBroken"  // a certificate file of this node cannot be used
	WarnEtcdOld         = "EtcdOld"            // a member's patch version has known faults
	WarnUpgradeUnsafe   = "UpgradeUnsafe"      // a newer minor version beside one that cannot be upgraded safely
	WarnNoRoom          = "NoRoom"             // the file system of etcd's data directory is nearly full
	WarnActionFails     = "ActionFails"        // what this node does on its own machine fails again and again
	WarnCertExpires     = "CertificateExpires" // one expires soon, or has
)

// How long a state must last to be worth a warning.
const (
	failsOften    = 3 // failures in a row: about 2 s
	holdOldAfter  = 30 * time.Minute
	capacityAfter = 15 * time.Minute
)

// expiresSoon is how long before its end a certificate is worth a warning: whoever
// renews it automatically does so earlier, and a week is time to do it by hand.
const expiresSoon = 7 * 24 * time.Hour

// warnings looks for what nobody repairs by itself.
func (p *pass) warnings() []Warning {
	var out []Warning
	warn := func(name, format string, args ...any) {
		out = append(out, Warning{Name: name, Detail: fmt.Sprintf(format, args...)})
	}
	g := p.v.Group
	if g.Ever() && g.Value.Name != "" {
		if g.Value.HooksErr != "" {
			warn(WarnHooksUnknown, "the lifecycle hooks of group %s cannot be read: %s", g.Value.Name, g.Value.HooksErr)
		}
		if _, ok := p.hook(Launching); !ok {
			warn(WarnNoLaunchHook, "group %s has no launch hook for this agent: instances count as in service before they vote", g.Value.Name)
		}
		if _, ok := p.hook(Terminating); !ok {
			warn(WarnNoTerminateHook, "group %s has no terminate hook for this agent: instances end without leaving etcd", g.Value.Name)
		}
		if tag := g.Value.ClusterTag; tag != "" && p.listed && tag != p.list.Cluster.String() {
			warn(WarnTagConflict, "the tag quorumd:cluster-id says %s, the cluster is %s", tag, p.list.Cluster)
		}
	}
	for _, h := range p.v.Lock.Value.Holders {
		// The holder's own clock, read on another machine: for people only.
		if age := p.now.Sub(h.Since); !h.Since.IsZero() && age > holdOldAfter {
			warn(WarnHoldOld, "%s has held the lock for %s (%s, %s)", h.Instance, age.Round(time.Minute), h.Reason, h.Phase)
		}
	}
	if p.listed {
		if since := p.capacitySince(); !since.IsZero() && p.now.Sub(since) > capacityAfter {
			warn(WarnCapacity, "%d voters, the group wants %d", len(p.list.Voters()), g.Value.Desired)
		}
		p.versionWarnings(warn)
		for _, m := range p.list.Members {
			h := p.v.Health[m.ID]
			if h.Known() && h.Value.NoSpace {
				warn(WarnNoSpace, "member %s (%s): compact, defragment each member, then disarm; a restart does not help", m.ID, p.list.Instance(m))
			}
			if h.Known() && h.Value.Corrupt {
				warn(WarnCorrupt, "member %s (%s): remove it and let it join anew; never copy its data", m.ID, p.list.Instance(m))
			}
		}
	}
	if at := p.v.Data.Value.NoRoom; at != "" {
		warn(WarnNoRoom, "%s: etcd stops where its disk is full and does not start again; make room or enlarge the disk, nothing else is needed", at)
	}
	for _, act := range []Action{WriteRecord{}, StartEtcd{}, StopEtcd{}, ArchiveData{}} {
		if r := p.v.Receipts[act.Key()]; r.Failures >= failsOften {
			warn(WarnActionFails, "%s has failed %d times in a row on this node: %s", act.Kind(), r.Failures, r.LastErr)
		}
	}
	for _, c := range p.v.Certificates.Value {
		switch left := c.NotAfter.Sub(p.now); {
		case c.Problem != "" && c.NotAfter.IsZero():
			warn(WarnCertBroken, "%s cannot be used: %s", c.File, c.Problem)
		case c.Problem != "":
			warn(WarnCertBroken, "%s has changed and cannot be used, its content of before stays in use: %s", c.File, c.Problem)
		case left < 0:
			warn(WarnCertExpires, "%s expired on %s; replace it, it is read again by itself", c.File, c.NotAfter.UTC().Format(time.DateTime))
		case left < expiresSoon:
			warn(WarnCertExpires, "%s expires on %s; replace it, it is read again by itself", c.File, c.NotAfter.UTC().Format(time.DateTime))
		}
	}
	return out
}

// capacitySince is since when the voters have not been as many as desired; zero
// while they are, or while nobody watches the group.
func (p *pass) capacitySince() time.Time {
	g := p.v.Group
	if !p.steward || !g.Known() || len(p.list.Voters()) == g.Value.Desired {
		p.next.CapacitySince = time.Time{}
	} else if p.next.CapacitySince.IsZero() {
		p.next.CapacitySince = p.now
	}
	return p.next.CapacitySince
}
