package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

// Remove removes an instance's member as an operator may, and gives what the members
// were before. etcd refuses for some seconds after members were connected. The others are
// asked: a member that removes itself may be gone before it has answered.
func (o *Observer) Remove(ctx context.Context, id string) (Members, error) {
	before, err := o.Members(ctx)
	if err != nil {
		return nil, err
	}
	m := before[id]
	if m == nil {
		return nil, fmt.Errorf("%s has no member: %s", id, before)
	}
	own := func(inst fakeaws.Instance) bool { return inst.ID == id }
	endpoints := o.Endpoints()
	if i := slices.IndexFunc(o.Instances(), own); i >= 0 {
		url := o.ClientURL(o.Instances()[i])
		endpoints = slices.DeleteFunc(endpoints, func(e string) bool { return e == url })
	}
	client, err := o.Client(endpoints...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return before, Until(ctx, 250*time.Millisecond, "etcd to remove the member of "+id, func(ctx context.Context) error {
		return removed(ctx, client, m.ID)
	})
}

func removed(ctx context.Context, client *clientv3.Client, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := client.MemberRemove(ctx, id)
	if errors.Is(err, rpctypes.ErrMemberNotFound) {
		return nil // by an earlier try, whose answer was lost
	}
	return err
}
