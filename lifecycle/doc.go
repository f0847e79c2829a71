// Package lifecycle is quorumd's view of EC2: what the instance's own metadata
// says, and the auto scaling group with its lifecycle hooks.
//
// # Two sources
//
// [Metadata] is local, free and has no permissions: who this instance is, where
// the group wants it to be (a level, not an event), and whether Spot is about
// to take it. It is made to be polled every second.
//
// [Fleet] is the group's and EC2's side, over their APIs: the group with its
// instances and hooks, the state of single instances, heartbeats and the end of
// a hook, and the group's tag with the cluster's id. It is slower, can be
// throttled and needs the rights that [Permissions] lists.
//
// # What an answer is
//
// An etcd member is removed because EC2 said that its machine is gone, so what
// counts as "said" is narrow here. Only an answer that is whole and in AWS's
// own form is one: an empty or half a body, an HTML page with status 200, an
// instance without id or state are [ErrMalformed]. That something does not
// exist is said by AWS's explicit word for it, never by silence: see
// [Fleet.Instances]. States and targets that this package has never heard of
// are passed on as they are; judging them is not its work.
//
// # Errors
//
// Every call is bounded (5 s with its one retry) and every error says what was
// being done. These are told apart: [*MissingPermission] names the IAM action
// that is missing, [ErrThrottled] means that slower is better, [ErrNoGroup] that the
// instance belongs to no group, [ErrNoActiveAction] that a hook no longer waits. The
// caller has its own backoff; here nothing is tried more than twice.
//
// # Size
//
// The SDK's EC2 client has hundreds of operations, which the linker drops only as long as
// the client never becomes an interface value and no paginator or waiter is
// used: 52 MB instead of 22 MB. So clients are concrete struct fields,
// operations are passed as method values, and NextToken is followed by hand.
//
// Endpoints, credentials and the CA bundle are the SDK's own business
// (AWS_ENDPOINT_URL, AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_CA_BUNDLE, ...): tests
// need no code path of their own. IMDSv1 is never used, and metadata is never asked
// through a proxy.
package lifecycle
