// Package fakeaws emulates the part of AWS that an agent inside an auto scaling
// group sees: EC2 Auto Scaling, EC2 and instance metadata, over their real wire
// protocols. The AWS SDKs, boto3 and the aws command line talk to it unchanged.
//
// It exists because no other emulator runs lifecycle hooks for real: here an
// instance really waits in Pending:Wait or Terminating:Wait, heartbeats extend
// the wait, time runs out, and ABANDON and CONTINUE do what AWS says they do.
//
// # A cloud in ten lines
//
//	cloud, err := fakeaws.New(fakeaws.Config{Seed: 1})
//	...
//	defer cloud.Close()
//	err = cloud.AddGroup(fakeaws.GroupConfig{
//		Name: "etcd", Min: 0, Max: 5, Desired: 3,
//		Hooks: []fakeaws.Hook{
//			{Name: "join", Transition: fakeaws.Launching, HeartbeatTimeout: 10 * time.Minute},
//			{Name: "leave", Transition: fakeaws.Terminating, HeartbeatTimeout: 10 * time.Minute},
//		},
//	})
//	url, err := cloud.Serve(listener) // AWS_ENDPOINT_URL for both services
//
// One URL serves both services: requests are told apart by their Version
// parameter, else by the service in their credential scope. Requests must be
// signed, but the signature is not checked: any key will do.
//
// # The life of an instance
//
//	EC2 state       pending ──────► running ───────────────────────► shutting-down ─► terminated
//	lifecycle       Pending ─► Pending:Wait ─► Pending:Proceed ─► InService
//	                                InService ─► Terminating ─► Terminating:Wait ─► Terminating:Proceed ─► gone
//	metadata target InService ...............................| Terminated ..........................
//
// The target that metadata shows is a level: InService from launch on, Terminated
// once the group has told the instance to go (a "notice" in the event log). A
// wait ends when each of its hooks was completed or ran out. A hook runs out at
// the last heartbeat plus HeartbeatTimeout, and at the latest at the global limit
// of min(48 h, 100 x HeartbeatTimeout) after it opened, whatever the heartbeats.
// ABANDON of a launch terminates and replaces the instance. A termination goes
// on after ABANDON and CONTINUE alike; ABANDON also ends its other hooks.
//
// # Other ways in and out
//
//	standby      InService ─► EnteringStandby ─► Standby ─► Pending ─► InService       no hooks, target Standby
//	detach       InService or Standby ─► Detaching, then in no group                    no hooks, target Detached
//	attach       in no group ─► Pending ─► InService                                    no hooks
//	warm pool    Warmed:Pending ─► :Wait ─► :Proceed ─► Warmed:Stopped                  launching hooks, target Warmed:Stopped
//	out of it    Warmed:Stopped ─► Pending ─► Pending:Wait ─► ... InService             launching hooks again
//	back to it   InService ─► Warmed:Pending ─► :Wait ─► :Proceed ─► Warmed:Stopped     terminating hooks
//	its end      Warmed:Stopped ─► Warmed:Terminating ─► :Wait ─► :Proceed ─► gone      terminating hooks
//
// Warmed:Pending:Wait is thus the state of two different waits: of an instance that is
// launched into the pool, for the launching hooks, and of one that comes back from service
// with WarmPool.Reuse, for the terminating ones. DescribeAutoScalingGroups does not list the
// instances of a pool; DescribeWarmPool and DescribeAutoScalingInstances do.
//
// GroupConfig.Overrides are the types of a mixed instances policy. With weights an instance counts
// as many units of the desired capacity; the group may then have more than is desired.
//
// An instance refresh tells instances to go as far as MinHealthy allows, and with
// MaxHealthy above 100 launches others first. It waits for instances in standby.
//
// A group replaces an instance that was set unhealthy or was stopped, unless it is in standby.
//
// TerminateInstances of EC2 (and Spot, and the loss of a machine) asks nobody:
// the instance goes to shutting-down at once, without a hook, and the group
// replaces it when it notices. A terminated instance is visible in EC2 for one
// hour, after which its id is unknown.
//
// GroupConfig.Replace selects when the group launches a replacement for an
// instance that it told to go: at once, or when the old one has terminated.
// Both are seen in practice.
//
// # Time
//
// Every timer runs on Config.Clock. RealClock is the default and also works
// inside a testing/synctest bubble; a ManualClock moves only when a test says
// so, and runs what falls due in the caller's goroutine. With the zero Timing
// everything that takes AWS a while happens at once, inside the call that caused it,
// so that a test needs neither sleeps nor polling.
//
// A network is not part of a synctest bubble; Transport connects an SDK client
// to a handler without one.
//
// # Machines
//
// By default instances are only records. A Driver makes machines of them, and a PowerDriver
// also machines that can be stopped and started again:
// Start is called when an instance launches, Stop when it reaches shutting-down,
// in this order and never at the same time for one instance. An instance stays
// pending until Start has returned, and shutting-down until Stop has: "terminated"
// is only said of a machine that is gone.
//
// Each instance has a metadata service. Config.ListenMetadata names a listener
// for it before Start is called; or Start makes one itself, for example inside a
// network namespace, and hands it to Cloud.ServeMetadata; or a test uses
// Cloud.MetadataHandler without any network. Credentials that an instance gets
// from its metadata carry the instance's identity, so that Calls tells who called.
//
// # Faults
//
// Cloud.AddFault injects outages, throttling, refusals, delays, malformed answers
// and answers that are lost after the call took effect, for one service, action
// or caller. Cloud.SetStaleness makes every Describe call answer from the past.
// The same is on offer over HTTP under /_fake/ (see Cloud.AdminHandler) for use
// from a shell.
//
// # What happened
//
// Cloud.Events is the log of all that happened to instances, hooks and groups;
// Cloud.AwaitEvent waits for an event and Cloud.Subscribe follows them.
// Cloud.Calls is the log of API calls, for tests that hold a caller to a budget.
//
// # Drift
//
// An emulator that only its own client has seen drifts from what it emulates. One table of
// calls (suite_test.go) runs through the SDK for Go, boto3 and the aws command, whose answers
// are compared whole; another is made of moto_server as well, for what moto really has;
// and test/imdsmock reads the metadata service and Amazon's own mock of it with the same
// assertions. A parameter of a newer call that has no effect here is refused, not ignored.
//
// # Left out
//
// Creation and deletion of groups over the wire, notifications to queues and topics, health
// checks of load balancers, scaling policies, protection from
// scale-in, cooldowns, maintenance policies, replacement of root volumes. Of instance refresh:
// checkpoints, rollback, bake time, alarms, and the instances of the warm pool, which stay as
// they are. Of mixed instances policies: allocation strategies (the first type is launched),
// Spot, requirements in place of types, and weights in instance refreshes and warm pools.
// Cloud.SetMetadata can show an instance any target state nonetheless. IAM is not
// modelled beyond AccessDenied on demand.
package fakeaws
