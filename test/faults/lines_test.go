//go:build faults && linux

package faults

import (
	"fmt"
	"slices"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// lines is the matrix, but for the kills (kill_test.go).
func lines() []line {
	return slices.Concat(waitingLines(), electionLines(), tlsLines(), versionLines(), groupLines(), rebootLines(), []line{
		fleetLockLine(),
		chaosLine("by chance", nil), chaosLine("by chance, one of four answers lost", loseSome),
		{name: "every agent's first answer to every change lost", cfg: loseFirst, scenarios: []scenario{
			{name: "the leader replaced", run: replaceLeader},
			{name: "two of three told to go at once", run: twoAtOnce},
			{name: "to one and back", within: 90 * time.Second, run: toOneAndBack},
		}},
		{name: "leaving", scenarios: []scenario{
			{name: "powered off without notice, then replaced at its address", run: powerOffThenReplaced},
			{name: "two of three told to go at once", run: twoAtOnce},
			{name: "healthy and stopped told to go together", run: healthyAndStopped},
			{name: "healthy and crashing told to go together", run: healthyAndCrashing},
			{name: "all three told to go, three wanted", within: 90 * time.Second, run: allAtOnce},
			{name: "to one and back", within: 90 * time.Second, run: toOneAndBack},
			{name: "told to go while joining, at every step", within: 2 * time.Minute, run: goWhileJoining},
		}},
		{name: "first cluster", fresh: true, scenarios: []scenario{
			{name: "three become five after the promise", run: resizeAt("PromiseFirst", 5)},
			{name: "three become five after the commitment", run: resizeAt("CommitFirst", 5)},
			{name: "three become two after the promise", run: resizeAt("PromiseFirst", 2)},
			{name: "three become one after the commitment", within: 90 * time.Second, run: resizeAt("CommitFirst", 1)},
			{name: "one told to go after its promise", run: goAt("PromiseFirst")},
			{name: "one told to go after its commitment", run: goAt("CommitFirst")},
		}},
		refusedLine(),
		{name: "disks", scenarios: []scenario{
			{name: "root volume wiped", run: wiped(true)},
			{name: "data wiped, stale initial cluster", run: wiped(false)},
			{name: "the disk of another node", run: diskOfAnother},
			{name: "all power lost for a moment", run: powerCut},
			{name: "to zero and back, fresh by word of the operator", within: 90 * time.Second, run: toZero},
			{name: "all lost and replaced, fresh by word of the operator", within: 90 * time.Second, run: allLost},
		}},
		{name: "time", cfg: shortTimes, scenarios: []scenario{
			{name: "heartbeat timeout of 6 s", run: replaceLeader},
			{name: "no heartbeats, the lock held by another", run: deadlineWithoutLock},
			{name: "Spot notice", run: spotNotice},
		}},
		{name: "replaced only after termination", cfg: replaceLate, scenarios: []scenario{
			{name: "the leader", run: replaceLeader},
			{name: "all three told to go, three wanted", within: 2 * time.Minute, run: allAtOnce},
			{name: "two lost of five, three more told to go", within: 3 * time.Minute, run: fiveInTrouble},
		}},
		{name: "slow and lossy links (50 ms, 5 %)", cfg: slowLinks, scenarios: []scenario{
			{name: "the leader replaced", within: 2 * time.Minute, run: replaceLeader},
			{name: "two of three told to go at once", within: 2 * time.Minute, run: twoAtOnce},
			{name: "an etcd killed", run: killFollower},
		}},
		{name: "a database that is full", cfg: smallQuota, scenarios: []scenario{
			{name: "the leader told to go, then compacted and disarmed", within: 2 * time.Minute, run: fullDatabase},
		}},
	})
}

// waitingLines are those in which little happens for a minute or more: they run
// beside the others, a fleet for each, so that all of them take as long as the longest.
func waitingLines() []line {
	waiting := func(name string, s scenario) line {
		return line{name: name, cfg: longHooks, waits: true, scenarios: []scenario{s}}
	}
	late := waiting("first cluster, slowly", scenario{name: "one node late by a minute", within: 2 * time.Minute, run: oneLate(time.Minute)})
	late.fresh = true
	brief := waiting("metadata away, brief hooks", scenario{name: "the leader cannot hear its notice for a minute, its hook runs out",
		within: 3 * time.Minute, run: metadataAway(time.Minute, true)})
	brief.cfg = nil
	hook := waiting("heartbeat timeout of 30 s", scenario{name: "75 s of waiting for the lock", within: 3 * time.Minute, run: longWait(75 * time.Second)})
	hook.cfg = nil
	hook.scenarios = append(hook.scenarios,
		scenario{name: "no heartbeats, the lock held by another", within: 2 * time.Minute, run: deadlineWithoutLock})
	return []line{
		late, brief, hook,
		waiting("metadata away", scenario{name: "the leader cannot hear its notice for a minute", within: 3 * time.Minute, run: metadataAway(time.Minute, false)}),
		waiting("AWS answers 500", scenario{name: "the leader told to go, for a minute", within: 3 * time.Minute, run: awsFails(fakeaws.Outage, time.Minute)}),
		waiting("AWS throttles", scenario{name: "the leader told to go, for a minute", within: 3 * time.Minute, run: awsFails(fakeaws.Throttling, time.Minute)}),
		waiting("lists are a minute old", scenario{name: "the leader told to go", within: 4 * time.Minute, run: staleLists(time.Minute)}),
	}
}

// longHooks are what the README recommends at the most for what takes a minute.
func longHooks(c *hosts.Config) {
	c.Hook = 2 * time.Minute
}

// slowLinks are the peers' only: what agents and writers ask of etcd is not slowed.
func slowLinks(c *hosts.Config) { c.Links = hosts.Links{Delay: 50 * time.Millisecond, Loss: 0.05} }

// smallQuota is full after a second of writing.
func smallQuota(c *hosts.Config) {
	c.EtcdEnv = append(c.EtcdEnv, fmt.Sprintf("ETCD_QUOTA_BACKEND_BYTES=%d", quota))
}

func replaceLate(c *hosts.Config) {
	c.Replace = fakeaws.ReplaceAfterTermination
	c.AgentEnv = append(c.AgentEnv, "QUORUMD_LIFECYCLE_REPLACEMENT_WAIT=8s")
}

func shortTimes(c *hosts.Config) {
	c.Hook = 6 * time.Second
	c.AgentEnv = append(c.AgentEnv, "QUORUMD_LIFECYCLE_MARGIN=3s")
}
