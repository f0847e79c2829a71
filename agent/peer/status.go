package peer

import (
	"fmt"
	"strconv"
	"time"
)

// Version is the version of the status this package writes and reads.
const Version = 1

// Status is what one agent says of itself after one pass.
type Status struct {
	Version int `json:"version"`
	// AgeSeconds is how long before it was served the pass was.
	AgeSeconds float64 `json:"age_seconds"`

	Instance string `json:"instance"`
	Machine  string `json:"machine,omitempty"`
	Boot     string `json:"boot,omitempty"`
	// OS is the operating system release, Quorumd the agent's version.
	OS        string `json:"os,omitempty"`
	Quorumd   string `json:"quorumd,omitempty"`
	PeerURL   string `json:"peer_url,omitempty"`
	ClientURL string `json:"client_url,omitempty"`

	Record Record `json:"record"`
	// HasData: etcd's data directory is not empty. null: it could not be read.
	HasData *bool `json:"has_data"`
	Etcd    Etcd  `json:"etcd"`
	// Election is null when there is no plan to remember.
	Election *Election `json:"election,omitempty"`

	Lifecycle Lifecycle `json:"lifecycle"`
	// Group is null until it was read once.
	Group    *Group   `json:"group"`
	Decision Decision `json:"decision"`
	// Facts tells the age and the failure of everything that the agent observes,
	// in a fixed order. What it says of Members, Lock and Group applies to the
	// values here, which are the last known ones.
	Facts   []Fact   `json:"facts"`
	Members *Members `json:"members"`
	Lock    *Lock    `json:"lock"`
	// Agents are the other agents as this one sees them.
	Agents []Agent `json:"agents"`
}

// ID is an etcd id, written in hexadecimal as etcd's own tools do: a JSON number
// does not hold 64 bits everywhere. 0, which means none, is left out.
type ID uint64

// MarshalText gives the hexadecimal form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (id *ID) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("read id: %w", err)
	}
	*id = ID(n)
	return nil
}

func (id ID) String() string { return strconv.FormatUint(uint64(id), 16) }

// Record is what the agent keeps on disk. It counts only if Instance is the
// status's own: else the disk is a copy of another machine's.
type Record struct {
	Instance string   `json:"instance,omitempty"`
	Member   ID       `json:"member,omitempty"`
	Cluster  ID       `json:"cluster,omitempty"`
	Promise  *Promise `json:"promise,omitempty"`
	Leaving  *Leaving `json:"leaving,omitempty"`
}

// Promise is the promise about the first cluster.
type Promise struct {
	Group   string           `json:"group"`
	Members []PromisedMember `json:"members"`
	// Hash must be that of Group and Members; it names the promise.
	Hash      string `json:"hash"`
	Withdrawn bool   `json:"withdrawn"`
	Committed bool   `json:"committed"`
}

// PromisedMember is one member of the promised list.
type PromisedMember struct {
	Instance string `json:"instance"`
	PeerURL  string `json:"peer_url"`
}

// Leaving is the marker of a node that was told to go.
type Leaving struct {
	Since  time.Time `json:"since"`
	Target string    `json:"target"`
}

// Etcd is the node's own etcd.
type Etcd struct {
	Version string `json:"version,omitempty"`
	// Unit is null when systemd did not tell, Health when nothing answered.
	Unit   *Unit   `json:"unit"`
	Health *Health `json:"health"`
	// DataMember is the member whose data is on disk, 0 when it cannot be read.
	DataMember ID `json:"data_member,omitempty"`
	// Pulse is null when nobody looked.
	Pulse *Pulse `json:"pulse,omitempty"`
}

// Unit is a systemd unit's state in systemd's words.
type Unit struct {
	Load   string `json:"load"`
	Active string `json:"active"`
	Sub    string `json:"sub"`
}

// Health is a member's state by its own word.
type Health struct {
	Member    ID     `json:"member,omitempty"`
	Cluster   ID     `json:"cluster,omitempty"`
	Leader    ID     `json:"leader,omitempty"`
	Term      uint64 `json:"term"`
	Committed uint64 `json:"committed"`
	Applied   uint64 `json:"applied"`
	Learner   bool   `json:"learner"`
	// Serves: a linearizable read succeeded.
	Serves  bool     `json:"serves"`
	Alarms  []string `json:"alarms,omitempty"`
	Version string   `json:"version,omitempty"`
}

// The alarms.
const (
	AlarmNoSpace = "NOSPACE"
	AlarmCorrupt = "CORRUPT"
)

// Lifecycle is where the group wants the instance, and where it sees it.
type Lifecycle struct {
	// Target is empty both when there is none and when it is not known; the fact
	// "lifecycle" tells which.
	Target string `json:"target,omitempty"`
	// State is the instance's state in its group, empty when not listed.
	State string `json:"state,omitempty"`
	// SpotAction and SpotTime are set while a Spot interruption is announced.
	SpotAction string     `json:"spot_action,omitempty"`
	SpotTime   *time.Time `json:"spot_time,omitempty"`
}

// Group is the auto scaling group.
type Group struct {
	Name            string     `json:"name"`
	Desired         int        `json:"desired"`
	Deleting        bool       `json:"deleting,omitempty"`
	LaunchSuspended bool       `json:"launch_suspended,omitempty"`
	ClusterTag      string     `json:"cluster_tag,omitempty"`
	Instances       []Instance `json:"instances"`
}

// Instance is one instance of the group; EC2 is what EC2 itself says of it.
type Instance struct {
	ID    string `json:"id"`
	State string `json:"state"`
	EC2   string `json:"ec2,omitempty"`
}

// Decision is what the pass decided.
type Decision struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	// Action is what is done now, empty for nothing; Concern is whose it is.
	Action  string `json:"action,omitempty"`
	Concern string `json:"concern,omitempty"`
	// Steward: this agent does the cluster-wide work.
	Steward  bool      `json:"steward"`
	Concerns []Verdict `json:"concerns"`
	// Warnings are what an operator should look at, though nothing rests on them.
	Warnings []Warning `json:"warnings,omitempty"`
	// InFlight is the action under way, also one of an earlier pass.
	InFlight *InFlight `json:"in_flight,omitempty"`
	Receipts []Receipt `json:"receipts,omitempty"`
}

// Verdict is one concern's reason.
type Verdict struct {
	Concern string `json:"concern"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail,omitempty"`
}

// Warning is what an operator should look at.
type Warning struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// InFlight is an action under way.
type InFlight struct {
	Action  string    `json:"action"`
	Started time.Time `json:"started"`
}

// Receipt is the outcome of the last attempt of an action or a duty.
type Receipt struct {
	Key      string    `json:"key"`
	Ended    time.Time `json:"ended"`
	Failures int       `json:"failures"`
	Error    string    `json:"error,omitempty"`
	Detail   string    `json:"detail,omitempty"`
}

// Fact is the age of one observation at the pass.
type Fact struct {
	Name string `json:"name"`
	// Observed: at least once. AgeSeconds is the age of the last success.
	Observed   bool    `json:"observed"`
	AgeSeconds float64 `json:"age_seconds,omitempty"`
	// Error says why the newest attempt gave nothing.
	Error string `json:"error,omitempty"`
}

// Known reports whether the newest attempt succeeded.
func (f Fact) Known() bool { return f.Observed && f.Error == "" }

// Members is the last known member list.
type Members struct {
	Cluster ID       `json:"cluster,omitempty"`
	List    []Member `json:"list"`
}

// Voters counts those that vote; none where there is no list.
func (m *Members) Voters() (n int) {
	if m == nil {
		return 0
	}
	for _, one := range m.List {
		if !one.Learner {
			n++
		}
	}
	return n
}

// Member is one member, with its health as this agent sees it.
type Member struct {
	ID ID `json:"id"`
	// Instance is whose it is, empty when nobody can tell.
	Instance   string   `json:"instance,omitempty"`
	Started    bool     `json:"started"`
	Learner    bool     `json:"learner"`
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls,omitempty"`
	// Health is null when it is not known; HealthError may say why.
	Health      *Health `json:"health"`
	HealthError string  `json:"health_error,omitempty"`
}

// Lock is the disruption lock of one group. Of a workers' group a status lists in
// Queue only who is near this node's own place.
type Lock struct {
	Group   string   `json:"group,omitempty"`
	Slots   int      `json:"slots"`
	Holders []Hold   `json:"holders"`
	Leaving []Waiter `json:"leaving"`
	Queue   []Waiter `json:"queue"`
}

// Waiter is one that waits for a slot, in its queue's order.
type Waiter struct {
	Instance string `json:"instance"`
	// Reason is what it wants the slot for; Since, by its own clock, when it began to
	// wait. Both are empty where the agent has not seen that place itself.
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// Hold is one slot's holder.
type Hold struct {
	Slot     int    `json:"slot"`
	Instance string `json:"instance"`
	Member   ID     `json:"member,omitempty"`
	Reason   string `json:"reason"`
	Phase    string `json:"phase"`
	// Client is the FleetLock client that it is for, Why the reason for people.
	Client string    `json:"client,omitempty"`
	Why    string    `json:"why,omitempty"`
	Since  time.Time `json:"since"`
	// Revision is the fencing token: a command that names it meets this hold or none.
	Revision int64 `json:"revision,omitempty"`
}

// Agent is another agent, as this one sees it.
type Agent struct {
	Instance string `json:"instance"`
	// URL is where it serves its status, empty when its address is not known.
	URL string `json:"url,omitempty"`
	// EC2 is what EC2 says of the instance, as far as that was asked.
	EC2 string `json:"ec2,omitempty"`
	// Answers: the newest attempt to read its status succeeded.
	Answers bool `json:"answers"`
}

// Fact gives the fact of a name.
func (s Status) Fact(name string) Fact {
	for _, f := range s.Facts {
		if f.Name == name {
			return f
		}
	}
	return Fact{Name: name}
}

// Reason gives a concern's reason, empty when it was not asked.
func (s Status) Reason(concern string) string {
	for _, v := range s.Decision.Concerns {
		if v.Concern == concern {
			return v.Reason
		}
	}
	return ""
}
