package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/etcd"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
)

// noEtcd stands for etcd's unit and data on a worker, which has neither.
type noEtcd struct{}

// missing is a unit that does not exist.
var missing = policy.Unit{Load: "not-found", Active: "inactive", Sub: "dead"}

// Watch reports once: nothing will ever change.
func (noEtcd) Watch(ctx context.Context, report func(policy.Unit, error)) error {
	report(missing, nil)
	<-ctx.Done()
	return ctx.Err()
}

// State says the same.
func (noEtcd) State(context.Context) (policy.Unit, error) { return missing, nil }

// Start is not for workers.
func (noEtcd) Start(context.Context, policy.StartEtcd) error { return errWorker }

// Stop is not for workers.
func (noEtcd) Stop(context.Context) error { return errWorker }

// Version is not for workers.
func (noEtcd) Version(context.Context) (string, error) { return "", errWorker }

var errWorker = errors.New("this node is a worker and runs no etcd")

// workerDisk is a worker's record; it has no data of etcd's.
type workerDisk struct{ *disk }

// Data says that there is none.
func (workerDisk) Data() (policy.Data, error) { return policy.Data{Empty: true}, nil }

// Archive is not for workers.
func (workerDisk) Archive(string) (string, error) { return "", errWorker }

// find is one way to find the members' client URLs.
type find func(ctx context.Context) ([]string, error)

const (
	findTimeout = 10 * time.Second
	// findPause is between two searches; a worker that cannot reach etcd has only
	// itself to blame for what it costs.
	findPause = 30 * time.Second
)

// seeker is an etcd client that looks for the members where nobody names them. What
// it found is used beside the URLs of the member list, which the loop names once it
// was read.
type seeker struct {
	*etcd.Client
	find find
	log  *slog.Logger
	need chan struct{} // capacity 1: the members do not answer

	mu    sync.Mutex
	named []string
	found []string
}

func newSeeker(c *etcd.Client, f find, log *slog.Logger) *seeker {
	s := &seeker{Client: c, find: f, log: log, need: make(chan struct{}, 1)}
	s.need <- struct{}{}
	return s
}

// SetEndpoints names URLs, to which those found are added.
func (s *seeker) SetEndpoints(urls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = slices.Clone(urls)
	s.setLocked()
}

func (s *seeker) setLocked() {
	all := slices.Clone(s.named)
	for _, u := range s.found {
		if !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	s.Client.SetEndpoints(all)
}

// Members reads the member list; one that cannot be read has the members looked for.
func (s *seeker) Members(ctx context.Context) (policy.MemberList, error) {
	list, err := s.Client.Members(ctx)
	if err != nil {
		select {
		case s.need <- struct{}{}:
		default:
		}
	}
	return list, err
}

// run looks for the members when they are needed, until ctx ends.
func (s *seeker) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.need:
		}
		s.seek(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(findPause):
		}
	}
}

func (s *seeker) seek(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	urls, err := s.find(ctx)
	if err != nil {
		s.log.Warn("cannot find etcd's members", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(urls, s.found) {
		s.log.Info("found etcd's members", "urls", strings.Join(urls, ","))
	}
	s.found = urls
	s.setLocked()
}

// bySRV finds the members by the SRV records that etcd's own clients use.
func bySRV(e config.Etcd, lookup func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)) find {
	service := "etcd-client"
	if e.ClientScheme() == "https" {
		service = "etcd-client-ssl"
	}
	return func(ctx context.Context) ([]string, error) {
		_, records, err := lookup(ctx, service, "tcp", e.DiscoverySRV)
		if err != nil {
			return nil, fmt.Errorf("look up the SRV records _%s._tcp.%s: %w", service, e.DiscoverySRV, err)
		}
		var urls []string
		for _, r := range records {
			u := e.ClientScheme() + "://" + net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
			if !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
		}
		slices.Sort(urls)
		return urls, nil
	}
}

// byTag finds the members by the tag of their auto scaling group.
func byTag(e config.Etcd, fleet *lifecycle.Fleet) find {
	group, instances := fleet.TaggedGroup, fleet.Instances // method values: see awsCalls
	return func(ctx context.Context) ([]string, error) {
		g, err := group(ctx, e.MembersTag)
		if err != nil {
			return nil, err
		}
		var ids []policy.InstanceID
		for _, i := range g.Instances {
			ids = append(ids, i.ID)
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("the members' group %s has no instances", g.Name)
		}
		found, err := instances(ctx, ids)
		if err != nil {
			return nil, err
		}
		var urls []string
		for _, i := range found {
			if i.Address != "" {
				urls = append(urls, e.ClientURL(i.Address))
			}
		}
		slices.Sort(urls)
		return urls, nil
	}
}

// membersGroup gives the name of the members' group, by its tag.
func membersGroup(tag string, fleet *lifecycle.Fleet) func(context.Context) (string, error) {
	group := fleet.TaggedGroup // a method value: see awsCalls
	return func(ctx context.Context) (string, error) {
		g, err := group(ctx, tag)
		return g.Name, err
	}
}
