package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// LockFor takes the members' lock for an instance, as another boot of it: no agent gives
// that back. unlock ends the hold, and fails if it did not last until then.
func (o *Observer) LockFor(ctx context.Context, instance string) (unlock func() error, err error) {
	members, err := o.Members(ctx)
	if err != nil {
		return nil, err
	}
	if members[instance] == nil {
		return nil, fmt.Errorf("lock for %s: the members are %s", instance, members)
	}
	client, err := o.Client(o.Endpoints()...)
	if err != nil {
		return nil, err
	}
	key := "/quorumd/" + o.Group + "/lock/members/holders/0"
	value := fmt.Sprintf(`{"version":1,"instance":%q,"boot":"another","member":"%x","cluster":"%x","reason":"operator","phase":"acting","since":%q}`,
		instance, members[instance].ID, o.Cluster(), time.Now().UTC().Format(time.RFC3339))
	taken, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, value)).Commit()
	if err == nil && !taken.Succeeded {
		err = errors.New("somebody holds the lock")
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return func() error {
		defer client.Close()
		resp, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", value)).Then(clientv3.OpDelete(key)).Commit()
		if err == nil && !resp.Succeeded {
			err = errors.New("the hold of another did not last")
		}
		return err
	}, nil
}
