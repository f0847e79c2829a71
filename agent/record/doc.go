// Package record is what this node keeps on disk, in state_dir:
//
//	record.json    identity, promise, leaving marker, last known endpoints
//	etcd-allowed   marker: etcd may start at boot without asking the agent
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
