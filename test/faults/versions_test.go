//go:build faults && linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// versionLines are fleets of every etcd that is supported, upgrades through the group,
// and nodes whose etcd does not fit.
func versionLines() []line {
	core := func() []scenario {
		return []scenario{
			{name: "the leader replaced", run: replaceLeader},
			{name: "two of three told to go at once", run: twoAtOnce},
		}
	}
	return []line{
		{name: "etcd 3.5", cfg: ofEtcd("3.5"), scenarios: core()},
		{name: "etcd 3.7", cfg: ofEtcd("3.7"), scenarios: core()},
		{name: "upgrade through the group", cfg: ofEtcd("3.5"), scenarios: []scenario{
			{name: "3.5 to 3.6, instance by instance", within: 3 * time.Minute, run: upgrade("3.6")},
			{name: "3.6 to 3.7, instance by instance", within: 3 * time.Minute, run: upgrade("3.7")},
		}},
		{name: "two minor versions ahead", cfg: ofEtcd("3.5"), waits: true, scenarios: []scenario{
			{name: "waits, then one that fits comes", within: 3 * time.Minute, run: misfit("3.7", "VersionAhead", "3.6")},
		}},
		{name: "behind the cluster", cfg: ofEtcd("3.6"), waits: true, scenarios: []scenario{
			{name: "waits, then one that fits comes", within: 3 * time.Minute, run: misfit("3.5", "VersionBehind", "3.6")},
		}},
		{name: "a version that nothing tells", cfg: ofEtcd("3.5"), waits: true, scenarios: []scenario{
			{name: "two ahead: out again, waits, then one that fits comes", within: 4 * time.Minute, run: secretMisfit("3.7", "3.6")},
		}},
		{name: "an older version that nothing tells", cfg: ofEtcd("3.6"), waits: true, scenarios: []scenario{
			{name: "out again, waits, then one that fits comes", within: 4 * time.Minute, run: secretMisfit("3.5", "3.6")},
		}},
	}
}

// ofEtcd has a fleet begin with an etcd of a minor version.
func ofEtcd(version string) func(*hosts.Config) {
	return func(c *hosts.Config) {
		program, err := etcdProgram(context.Background(), version)
		if err != nil {
			fmt.Fprintln(os.Stderr, err) // a fleet without etcd does not begin
		}
		c.Binaries.Etcd = program
	}
}

func etcdProgram(ctx context.Context, version string) (string, error) {
	dir, err := hosts.BuildEtcd(ctx, version, os.Stderr)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "etcd"), nil
}

// use is a new version of the launch template.
func (w *world) use(version string) error {
	program, err := etcdProgram(w.ctx, version)
	if err == nil {
		w.UseEtcd(program)
	}
	return err
}

// upgrade replaces all instances by ones with the next etcd, one after the other, as an
// instance refresh does. The writer goes on; what it was promised is checked in the end.
func upgrade(to string) func(*world) error {
	return func(w *world) error {
		if err := w.use(to); err != nil {
			return err
		}
		for _, inst := range w.Instances() {
			if err := w.Terminate(inst.ID); err != nil {
				return err
			}
			if _, err := w.Settle(w.ctx); err != nil {
				return fmt.Errorf("replacing %s: %w", inst.ID, err)
			}
		}
		return w.allAre(to)
	}
}

// allAre waits until every member runs a minor version, and all agree on it.
func (w *world) allAre(version string) error {
	return w.await("all members to be of "+version, func() error {
		for _, inst := range w.Instances() {
			server, cluster, err := w.versionsOf(inst)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(server, version+".") || cluster != version+".0" {
				return fmt.Errorf("%s runs %s in a cluster of %s", inst.ID, server, cluster)
			}
		}
		return nil
	})
}

// versionsOf asks a member for its own version and the cluster's.
func (w *world) versionsOf(inst fakeaws.Instance) (server, cluster string, err error) {
	ctx, cancel := context.WithTimeout(w.ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.ClientURL(inst)+"/version", nil)
	if err != nil {
		return "", "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	var is struct{ EtcdServer, EtcdCluster string }
	err = json.NewDecoder(resp.Body).Decode(&is)
	return is.EtcdServer, is.EtcdCluster, err
}

// added grows the group by a host and gives that.
func (w *world) added() (*hosts.Host, error) {
	known := map[string]bool{}
	for _, inst := range w.Instances() {
		known[inst.ID] = true
	}
	if err := w.Scale(len(known) + 1); err != nil {
		return nil, err
	}
	var h *hosts.Host
	err := w.await("a new host", func() error {
		for _, inst := range w.Instances() {
			if h = w.Host(inst.ID); !known[inst.ID] && h != nil {
				return nil
			}
		}
		return errors.New("there is none")
	})
	return h, err
}

// misfit adds a node whose etcd does not fit: it says why, keeps its launch hook open
// beyond its time-out, and does nothing. Then the template is put right and the node
// replaced in its group.
func misfit(version, reason, fits string) func(*world) error {
	return func(w *world) error {
		before, err := w.Members(w.ctx)
		if err != nil {
			return err
		}
		if err := w.use(version); err != nil {
			return err
		}
		h, err := w.added()
		if err != nil {
			return err
		}
		if err := w.says(h.ID, reason); err != nil {
			return err
		}
		if err := w.waitsInVain(h, before); err != nil {
			return err
		}
		if did, err := actions(h, hosts.Acting); err != nil || len(did) > 0 {
			return fmt.Errorf("while it had no place it did %q: %w", did, err)
		}
		return w.replaceBy(h, fits)
	}
}

// waitsInVain checks beyond the hook's time-out that a node stays out, launching still.
func (w *world) waitsInVain(h *hosts.Host, members fleet.Members) error {
	return w.holds(40*time.Second, func() error {
		now, err := w.Members(w.ctx)
		if err != nil {
			return err
		}
		if len(now) != len(members) || members.Kept(now) != len(members) {
			return fmt.Errorf("members are %s, were %s", now, members)
		}
		if inst, ok := w.Cloud.Instance(h.ID); !ok || inst.Lifecycle != fakeaws.LifecyclePendingWait {
			return fmt.Errorf("%s is %s", h.ID, inst.Lifecycle)
		}
		return nil
	})
}

// actions lists what an agent began (hosts.Acting) or did (hosts.Acted), beyond writing
// its own record.
func actions(h *hosts.Host, msg string) (did []string, err error) {
	lines, err := h.Journal()
	for _, l := range lines {
		if l.Msg == msg && l.Action != "write-record" {
			did = append(did, l.Action+" "+l.Reason)
		}
	}
	return did, err
}

// replaceBy puts the template right and has the group replace a node that waits.
func (w *world) replaceBy(h *hosts.Host, fits string) error {
	if err := w.use(fits); err != nil {
		return err
	}
	w.ranOut[h.ID] = true // its launch hook: the group ends it in the middle
	if err := w.Terminate(h.ID); err != nil {
		return err
	}
	members, err := w.Settle(w.ctx)
	if err != nil {
		return err
	}
	if members[h.ID] != nil || len(members) != 4 {
		return fmt.Errorf("members are %s", members)
	}
	newest := w.Instances()[3]
	server, _, err := w.versionsOf(newest)
	if err == nil && !strings.HasPrefix(server, fits+".") {
		err = fmt.Errorf("%s runs %s", newest.ID, server)
	}
	return err
}

// secretMisfit adds a node with an etcd that does not fit behind a program that tells
// no version. It is added, does not run, and is taken out again, once.
func secretMisfit(version, fits string) func(*world) error {
	return func(w *world) error {
		before, err := w.Members(w.ctx)
		if err != nil {
			return err
		}
		program, err := etcdProgram(w.ctx, version)
		if err != nil {
			return err
		}
		wrapper := filepath.Join(w.Dir(), "start-etcd")
		if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec "+program+` "$@"`+"\n"), 0o755); err != nil {
			return err
		}
		w.UseEtcd(wrapper)
		h, err := w.added()
		if err != nil {
			return err
		}
		if err := w.await(h.ID+" to take its learner out", func() error {
			did, err := actions(h, hosts.Acted)
			if err == nil && !slices.ContainsFunc(did, func(s string) bool { return strings.HasPrefix(s, "remove-member Version") }) {
				err = fmt.Errorf("it did %q", did)
			}
			return err
		}); err != nil {
			return err
		}
		if err := w.await("its member to be gone", func() error {
			now, err := w.Members(w.ctx)
			if err == nil && len(now) != len(before) {
				err = fmt.Errorf("members are %s", now)
			}
			return err
		}); err != nil {
			return err
		}
		if err := w.waitsInVain(h, before); err != nil {
			return err
		}
		did, err := actions(h, hosts.Acted)
		if err != nil {
			return err
		}
		n := map[string]int{}
		for _, s := range did {
			kind, _, _ := strings.Cut(s, " ")
			n[kind]++
		}
		if n["add-learner"] != 1 || n["remove-member"] != 1 || n["archive-data"] > 1 {
			return fmt.Errorf("that is not once: %q", did)
		}
		return w.replaceBy(h, fits)
	}
}
