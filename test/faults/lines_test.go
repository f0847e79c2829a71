//go:build faults && linux

package faults

import (
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// lines is the matrix, but for the kills (kill_test.go).
func lines() []line {
	return append(tlsLines(), []line{
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
			{name: "one node late", run: oneLate},
			{name: "three become two after the promise", run: resizeAt("PromiseFirst", 2)},
			{name: "three become one after the commitment", within: 90 * time.Second, run: resizeAt("CommitFirst", 1)},
			{name: "one told to go after its promise", run: goAt("PromiseFirst")},
			{name: "one told to go after its commitment", run: goAt("CommitFirst")},
		}},
		{name: "disks", scenarios: []scenario{
			{name: "root volume wiped", run: wiped(true)},
			{name: "data wiped, stale initial cluster", run: wiped(false)},
			{name: "the disk of another node", run: diskOfAnother},
			{name: "all power lost for a moment", run: powerCut},
			{name: "to zero", run: toZero, loses: true},
			{name: "all lost and replaced, fresh by word of the operator", within: 90 * time.Second, run: allLost, loses: true},
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
		{name: "clouds", scenarios: []scenario{
			{name: "instance metadata away for 40 s", within: 2 * time.Minute, run: metadataAway},
			{name: "AWS answers 500 for 20 s", within: 90 * time.Second, run: awsFails("outage")},
			{name: "AWS throttles for 20 s", within: 90 * time.Second, run: awsFails("throttling")},
			{name: "lists are 20 s old", within: 2 * time.Minute, run: staleLists},
		}},
	}...)
}

func replaceLate(c *hosts.Config) {
	c.Replace = fakeaws.ReplaceAfterTermination
	c.AgentEnv = append(c.AgentEnv, "QUORUMD_LIFECYCLE_REPLACEMENT_WAIT=8s")
}

func shortTimes(c *hosts.Config) {
	c.Hook = 6 * time.Second
	c.AgentEnv = append(c.AgentEnv, "QUORUMD_LIFECYCLE_MARGIN=3s")
}
