package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

// Observer looks at one group and the etcd on its instances. Nothing but Remove
// changes anything.
// Its methods may be called concurrently.
type Observer struct {
	Cloud *fakeaws.Cloud
	Group string
	// ClientURL is where the etcd of an instance serves.
	ClientURL func(fakeaws.Instance) string
	// Client makes a client of etcd; the Observer closes it.
	Client func(endpoints ...string) (*clientv3.Client, error)
	// Machine says what is wrong on an instance that is in service, nil: nothing.
	Machine func(context.Context, fakeaws.Instance) error

	mu        sync.Mutex
	clusterID uint64 // of the first cluster seen: no other may ever be
	broken    []error
	watches   bool
	judged    int // events, of all that the Cloud has logged
	over      bool
	excused   map[string]bool
}

// Instances that the group lists, oldest first, whatever their state.
func (o *Observer) Instances() []fakeaws.Instance {
	g, _ := o.Cloud.Group(o.Group)
	return g.Instances
}

// Endpoints of etcd on all machines that run.
func (o *Observer) Endpoints() (urls []string) {
	for _, inst := range o.Cloud.Instances() {
		if inst.State == fakeaws.Running {
			urls = append(urls, o.ClientURL(inst))
		}
	}
	slices.Sort(urls)
	return urls
}

// Members by a linearizable read.
func (o *Observer) Members(ctx context.Context) (Members, error) {
	endpoints := o.Endpoints()
	if len(endpoints) == 0 {
		return nil, errors.New("no machine runs")
	}
	client, err := o.Client(endpoints...)
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

// Leader is the instance whose member says that it leads.
func (o *Observer) Leader(ctx context.Context) (string, error) {
	last := errors.New("no machine runs")
	for _, inst := range o.Instances() {
		s, err := o.status(ctx, inst)
		switch {
		case err != nil:
			last = fmt.Errorf("%s: %w", inst.ID, err)
		case s.Leader == s.Header.MemberId && s.Leader != 0:
			return inst.ID, nil
		default:
			last = errors.New("no member says that it leads")
		}
	}
	return "", last
}

func (o *Observer) status(ctx context.Context, inst fakeaws.Instance) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	url := o.ClientURL(inst)
	client, err := o.Client(url)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Status(ctx, url)
}

// Settled tells what is not as it should be: the group has the instances that it
// wants, all in service; those, and no others, are voters of one cluster that
// has one leader; and all is well on their machines.
func (o *Observer) Settled(ctx context.Context) (Members, error) {
	g, _ := o.Cloud.Group(o.Group)
	if len(g.Instances) != g.Desired {
		return nil, fmt.Errorf("group has %d instances, wants %d", len(g.Instances), g.Desired)
	}
	for _, inst := range g.Instances {
		if inst.Lifecycle != fakeaws.LifecycleInService {
			return nil, fmt.Errorf("%s is %s", inst.ID, inst.Lifecycle)
		}
	}
	members, err := o.Members(ctx)
	if err != nil {
		return nil, err
	}
	leaders := map[uint64]bool{}
	for _, inst := range g.Instances {
		if !members.Votes(inst.ID) || len(members) != len(g.Instances) {
			return nil, fmt.Errorf("members %s, in service %s", members, ids(g.Instances))
		}
		leader, err := o.checkMember(ctx, inst, members[inst.ID].ID)
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

// Settle waits until the fleet is Settled and returns its members. It fails when
// ctx ends, and on anything that was broken on the way.
func (o *Observer) Settle(ctx context.Context) (Members, error) {
	var members Members
	err := Until(ctx, 100*time.Millisecond, "the fleet to settle", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		members, err = o.Settled(ctx)
		return errors.Join(err, o.upToDate())
	})
	return members, errors.Join(err, o.Broken())
}

// checkMember asks one member itself, and about the machine it is on.
func (o *Observer) checkMember(ctx context.Context, inst fakeaws.Instance, id uint64) (leader uint64, err error) {
	s, err := o.status(ctx, inst)
	if err != nil {
		return 0, err
	}
	if s.Header.MemberId != id || s.Leader == 0 || len(s.Errors) > 0 {
		return 0, fmt.Errorf("member %x, listed as %x, leader %x, errors %q", s.Header.MemberId, id, s.Leader, s.Errors)
	}
	if err := o.CheckCluster(s.Header.ClusterId); err != nil {
		return 0, err
	}
	if o.Machine == nil {
		return s.Leader, nil
	}
	return s.Leader, o.Machine(ctx, inst)
}

// CheckCluster tells a second cluster from the one there was. It is never put
// right again, so it also counts as broken for good.
func (o *Observer) CheckCluster(id uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.clusterID == 0 {
		o.clusterID = id
	}
	if o.clusterID == id {
		return nil
	}
	err := fmt.Errorf("cluster %x, but there was %x", id, o.clusterID)
	o.broken = append(o.broken, err)
	return err
}

// Anew says that the cluster is gone for good and another may come in its place.
func (o *Observer) Anew() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clusterID = 0
}

// Cluster is the id of the one cluster, 0 before it was first seen.
func (o *Observer) Cluster() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.clusterID
}

func ids(instances []fakeaws.Instance) (ids []string) {
	for _, inst := range instances {
		ids = append(ids, inst.ID)
	}
	return ids
}
