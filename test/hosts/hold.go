//go:build linux

package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Hold is the holder of the disruption lock, as it stands in etcd.
type Hold struct {
	Instance string `json:"instance"`
	Reason   string `json:"reason"`
	Phase    string `json:"phase"`
}

// AwaitHold waits until somebody holds the lock in a way that matches: an
// "acting" hold is about to disrupt a member. It hears of it from etcd itself, so
// within milliseconds.
func (f *Fleet) AwaitHold(ctx context.Context, match func(Hold) bool) (Hold, error) {
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		return Hold{}, err
	}
	defer client.Close()
	const prefix = "/quorumd/"
	is := func(key, value []byte) (Hold, bool) {
		var h Hold
		ok := strings.Contains(string(key), "/holders/") && json.Unmarshal(value, &h) == nil && match(h)
		return h, ok
	}
	now, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return Hold{}, err
	}
	for _, kv := range now.Kvs {
		if h, ok := is(kv.Key, kv.Value); ok {
			return h, nil
		}
	}
	for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(now.Header.Revision+1)) {
		if err := resp.Err(); err != nil {
			return Hold{}, err
		}
		for _, e := range resp.Events {
			if h, ok := is(e.Kv.Key, e.Kv.Value); ok && e.Type == clientv3.EventTypePut {
				return h, nil
			}
		}
	}
	return Hold{}, errors.Join(context.Cause(ctx), errors.New("wait for a hold: the watch ended"))
}
