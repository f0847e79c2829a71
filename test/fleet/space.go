package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// FreeSpace is what an operator does about the NOSPACE alarm: history up to revision is
// compacted, every member defragmented, the alarm disarmed. A compaction that is waited
// for has ended on the member that was asked, not on the others; a member that was
// defragmented before that stays as large as it was and raises the alarm again at the next
// write. So each is defragmented until less than quota/2 bytes are left. (dbSizeInUse does
// not tell: it is counted at a commit, and a member that nothing is written to may show
// for ever what was in use before its last one.) A member that does not run is left out.
func FreeSpace(ctx context.Context, client *clientv3.Client, members []string, revision, quota int64) error {
	if _, err := client.Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact up to revision %d: %w", revision, err)
	}
	for _, url := range members {
		err := Until(ctx, 200*time.Millisecond, "the compaction of "+url, func(ctx context.Context) error {
			_, err := client.Defragment(ctx, url)
			if isDown(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("defragment %s: %w", url, err)
			}
			status, err := client.Status(ctx, url)
			if err == nil && status.DbSize >= quota/2 {
				err = fmt.Errorf("defragmented it has %d bytes, of which it says %d are in use", status.DbSize, status.DbSizeInUse)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	_, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{}) // all of them
	return err
}

func isDown(err error) bool { return err != nil && strings.Contains(err.Error(), "connection refused") }
