package sim

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// versions is what a world knows of etcd's versions: a machine runs what its group's
// launch template named when it was launched. In most worlds that never changes. Its
// randomness is its own, so that the others are the same with and without it.
type versions struct {
	rng      *rand.Rand
	change   bool           // somebody changes the template now and then
	template policy.Version // of what is launched next
	// secret: the units of this world do not tell which etcd they start.
	secret bool
}

var usualVersion = newest(policy.Version{Major: 3, Minor: 6})

func newVersions(seed uint64) versions {
	v := versions{rng: rand.New(rand.NewPCG(seed, 0x76657273696f6e)), template: usualVersion}
	if v.change = v.rng.Float64() < 0.25; v.change {
		v.template.Minor = 5
		v.secret = v.rng.Float64() < 0.25
	}
	return v
}

func (v *versions) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(v.rng.Int64N(int64(hi-lo)))
}

// newest is a good patch of a minor version.
func newest(line policy.Version) policy.Version {
	line.Patch = 35
	return line
}

// scheduleTemplates lets somebody change the template, rightly or not, and then have
// some instances replaced.
func (w *world) scheduleTemplates() {
	if !w.etcds.change {
		return
	}
	for t := w.etcds.between(20*time.Minute, 3*time.Hour); t < w.opt.Length; t += w.etcds.between(30*time.Minute, 4*time.Hour) {
		w.at(t, w.changeTemplate)
	}
}

func (w *world) changeTemplate() {
	c := w.current()
	if c == nil || w.calm || c.level == (policy.Version{}) {
		return // a first cluster of several versions is nobody's wish
	}
	next := c.level
	switch p := w.etcds.rng.Float64(); {
	case p < 0.6:
		next.Minor++
	case p < 0.75:
		next.Minor += 2
	case p < 0.9:
		next.Minor--
	}
	w.etcds.template = newest(next)
	w.say("", "the template names etcd %s, the cluster is at %s", next, c.level)
	for range w.etcds.rng.IntN(4) {
		w.after(w.etcds.between(0, 30*time.Minute), func() {
			if all := w.alive(); len(all) > 0 && !w.calm {
				w.groupTerminates(all[w.etcds.rng.IntN(len(all))])
			}
		})
	}
}

// fitTemplate is the operator at the end: the template names what fits, and machines
// that wait in vain for their version are replaced, from time to time.
func (w *world) fitTemplate() {
	c := w.current()
	if !w.etcds.change || c == nil {
		return
	}
	for _, m := range c.members {
		if w.etcds.template = newest(c.level); m.version.Minor > c.level.Minor {
			w.etcds.template = m.version
			break
		}
	}
	w.say("", "the template names etcd %s, the cluster is at %s", w.etcds.template, c.level)
	for _, m := range w.alive() {
		if m.version != w.etcds.template && c.byURL(m.peerURL()) == nil {
			w.groupTerminates(m)
		}
	}
	w.after(40*time.Minute, w.fitTemplate)
}

// agree raises the cluster's version to the lowest one among its members, once each has
// told its own.
func (c *cluster) agree() {
	low := policy.Version{}
	for i, m := range c.members {
		if m.version == (policy.Version{}) {
			return
		}
		if line := (policy.Version{Major: m.version.Major, Minor: m.version.Minor}); i == 0 || line.Before(low) {
			low = line
		}
	}
	if !c.level.Before(low) {
		return
	}
	if c.level != (policy.Version{}) && c.w.etcds.rng.Float64() < 0.3 && !c.w.calm {
		// What the old version left in the log keeps the next one out for a while.
		c.rough = c.w.now + c.w.etcds.between(time.Minute, 90*time.Minute)
	}
	c.level = low
	c.w.say("", "cluster %s is at %s", c.id, low)
	c.w.touch(policy.SourceVersions)
}

// refuses says why etcd of a version that is to join does not even start; empty: it does.
func (c *cluster) refuses(v policy.Version) string {
	if v.Minor < c.level.Minor {
		return "incompatible with current running cluster"
	}
	return ""
}

// upset says why a member panics that has begun to apply the cluster's log.
func (c *cluster) upset(v policy.Version) string {
	known := c.level != policy.Version{}
	if known && (v.Minor > c.level.Minor+1 || v.Minor > c.level.Minor && c.w.now < c.rough) {
		return "panic: an entry that it cannot parse"
	}
	return ""
}

var (
	errSecret  = errors.New("the unit starts a wrapper that names no version")
	errNoPeers = errors.New("no peer tells the cluster's version")
)

func (a *agent) observeVersions(began time.Time) func() bool {
	own, cluster, err := a.m.version.String(), "", errNoPeers
	for _, o := range a.w.machines {
		if o.etcd.running && !o.etcd.paused && a.m.reaches(o) && a.knows(o) {
			cluster, err = "3.0.0", nil
			if v := o.cluster().level; v != (policy.Version{}) {
				cluster = v.String()
			}
			break
		}
	}
	asked := a.view.Members.Ever()
	return func() bool {
		changed := false
		if a.w.etcds.secret {
			changed = fail(&a.view.EtcdVersion, errSecret)
		} else {
			changed = land(&a.view.EtcdVersion, own, began)
		}
		switch {
		case !asked:
		case err != nil:
			changed = fail(&a.view.ClusterVersion, err) || changed
		default:
			changed = land(&a.view.ClusterVersion, cluster, began) || changed
		}
		return changed
	}
}
