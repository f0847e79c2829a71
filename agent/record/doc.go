// Package record is what this node keeps on disk, in state_dir:
//
//	record.json    identity, promise, leaving marker, last known endpoints, reboots
//	etcd-allowed   permit: etcd may start at boot without asking the agent, on this
//	               machine and with this node's data (see [Store.MayStart])
//	lock           held by the agent that runs, so that two never share the rest
//
// The record is written before the act that it allows, and it is on disk when
// [Store.Save] returns (see agent/durable). That is why reading it is strict: a
// record that cannot be read in full is an error and never an empty record,
// because an agent that forgot its promise or its leaving marker would break what
// it promised.
//
// The file has a version and only fields of that version. A later quorumd's file
// is refused rather than read in part: saving it again would drop what this
// version does not know.
package record
