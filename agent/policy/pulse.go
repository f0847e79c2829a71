package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Pulse is what an agent sees of the etcd on its own node. It can be told without a
// quorum, also of a process that was started while there is none and that serves no
// clients therefore.
type Pulse struct {
	// Leader tells whether the member knows a leader, by its metrics or by its status.
	Leader LeaderWord
	// LeaderID is that leader, 0 where the member does not name it.
	LeaderID MemberID
	// Leads: its metrics say that it leads itself. They say what it believed when its last
	// write came to an end, and go on to say so while its disk stands still.
	Leads bool
	// Term is the raft term, 0 where only metrics answer: they do not tell it.
	Term uint64
	// Committed and Applied are raft indices, 0 where nothing tells them: of a member
	// that was started without a quorum, metrics tell only what it has applied.
	Committed, Applied uint64
	Learner            bool
	NoSpace, Corrupt   bool
	// Serves: a linearizable read through the member succeeded.
	Serves bool
	// Client, PeerPort and Metrics are its three ports.
	Client, PeerPort, Metrics Port
	// Met: some port of this very process answered once, so that silence is no slow start.
	Met bool
	// Version is etcd's, empty where nothing tells it.
	Version string
}

// LeaderWord is what a member says of a leader.
type LeaderWord string

// The words.
const (
	LeaderUnknown LeaderWord = ""
	LeaderNone    LeaderWord = "none"
	LeaderSome    LeaderWord = "some"
)

// Port is how one port of etcd behaves.
type Port struct {
	Answer PortAnswer
	// For is how long it has behaved so, as far as this agent saw it.
	For time.Duration
}

// PortAnswer is what a request to a port came to.
type PortAnswer string

// The answers.
const (
	PortUnknown    PortAnswer = ""            // it was not asked
	PortAnswers    PortAnswer = "answers"     // something was said, whatever
	PortSilent     PortAnswer = "silent"      // refused, or no answer in time
	PortCannotTell PortAnswer = "cannot-tell" // certificates stand in between
)

// Silent reports whether all three ports were asked and none accepts requests.
func (p Pulse) Silent() bool {
	return p.Client.Answer == PortSilent && p.PeerPort.Answer == PortSilent && p.Metrics.Answer == PortSilent
}

// CannotTell reports whether the member does not say whether it knows a leader, and
// certificates or passwords may be why.
func (p Pulse) CannotTell() bool {
	return p.Leader == LeaderUnknown && !p.Silent() &&
		(p.Client.Answer == PortCannotTell || p.PeerPort.Answer == PortCannotTell || p.Metrics.Answer == PortCannotTell)
}

// EtcdWord is what another agent says of its own etcd.
type EtcdWord struct {
	// Known: it looked, Age before its status came.
	Known bool
	Age   time.Duration
	// Active: systemd says that the unit is active; Running: a process of it runs.
	Active, Running bool
	// Disk: its data directory can be read and holds the member of its record.
	Disk bool
	Pulse
}

// Voter is one voter as last known, kept on disk: it must be known who has a word
// in an election when no etcd answers any more.
type Voter struct {
	Member   MemberID
	Instance InstanceID
	PeerURL  string
}

// VotersOf gives the voters of a list whose instance is known, sorted by id.
func VotersOf(l MemberList) []Voter {
	var out []Voter
	for _, m := range l.Members {
		if id := l.Instance(m); !m.Learner && len(m.PeerURLs) > 0 {
			out = append(out, Voter{Member: m.ID, Instance: id, PeerURL: m.PeerURLs[0]})
		}
	}
	return out
}

// Round is how a plan restarts etcd.
type Round int

// The rounds.
const (
	OneByOne  Round = 1 // one after another, in the plan's order
	AllAtOnce Round = 2 // all stop, and start again after a pause
)

// Plan is a frozen order in which members are to be restarted.
type Plan struct {
	Cluster ClusterID
	// Attempt counts from 1 since the cluster last had a leader for long.
	Attempt int
	Round   Round
	// Forced: an operator asked for it, so the waiting time does not count.
	Forced bool
	// Proposer made it, At an instant of its own clock: only so that two plans differ.
	Proposer MemberID
	At       time.Time
	// Order are all voters, the first one first.
	Order []MemberID
}

// ID names the plan by its content.
func (p *Plan) ID() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %d %t %s %d %v", p.Cluster, p.Attempt, p.Round, p.Forced, p.Proposer, p.At.UnixNano(), p.Order)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Index is a member's place in the order, -1 for none.
func (p *Plan) Index(id MemberID) int { return slices.Index(p.Order, id) }

// Step is how far one node is with a plan.
type Step string

// The steps, in this order. What is begun is written down first.
const (
	StepAgreed  Step = "agreed"  // published, nothing done
	StepActing  Step = "acting"  // saving a snapshot, restarting or stopping etcd
	StepStopped Step = "stopped" // round 2: etcd is stopped
	StepDone    Step = "done"    // etcd was started again
	StepClosed  Step = "closed"  // the plan is over for this node
)

// Election is what a node keeps on disk of the plans it took part in.
type Election struct {
	Plan Plan
	Step Step
	// By is when the agent that wrote this began: another one's open attempt was cut.
	By time.Time
	// Since is when the plan was agreed to, Ended when it was closed, this machine's clock.
	Since, Ended time.Time
}

// Open reports whether the plan still goes on.
func (e *Election) Open() bool { return e != nil && e.Step != StepClosed }
