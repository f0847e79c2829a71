package lifecycle_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

func TestTaggedGroup(t *testing.T) {
	r := newRig(t, bare(2))
	if _, err := r.fleet.TaggedGroup(r.ctx, "quorumd:cluster-id"); !errors.Is(err, lifecycle.ErrNoTaggedGroup) || !strings.Contains(err.Error(), "none does") {
		t.Errorf("nobody bears it: %v", err)
	}
	r.ok(r.fleet.WriteTag(r.ctx, "c0ffee"))
	for _, tag := range []string{"quorumd:cluster-id", "quorumd:cluster-id=c0ffee"} {
		g, err := r.fleet.TaggedGroup(r.ctx, tag)
		r.ok(err)
		if g.Name != group || len(g.Instances) != 2 || g.ClusterTag != "c0ffee" {
			t.Errorf("%s: %+v", tag, g)
		}
	}
	if _, err := r.fleet.TaggedGroup(r.ctx, "quorumd:cluster-id=beef"); !errors.Is(err, lifecycle.ErrNoTaggedGroup) {
		t.Errorf("another value: %v", err)
	}

	r.ok(r.cloud.AddGroup(fakeaws.GroupConfig{Name: "second", Max: 9, Tags: []fakeaws.Tag{{Key: "quorumd:cluster-id", Value: "beef"}}}))
	if _, err := r.fleet.TaggedGroup(r.ctx, "quorumd:cluster-id"); !errors.Is(err, lifecycle.ErrNoTaggedGroup) ||
		!strings.Contains(err.Error(), "etcd, second do; name the tag's value") {
		t.Errorf("two bear it: %v", err)
	}
	if g, err := r.fleet.TaggedGroup(r.ctx, "quorumd:cluster-id=beef"); err != nil || g.Name != "second" {
		t.Errorf("by value: %+v, %v", g, err)
	}
}
