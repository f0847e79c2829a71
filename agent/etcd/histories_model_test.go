package etcd

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/quorumd/quorumd/agent/policy"
)

// held is a hold in the model: a semaphore whose slots know their owner, their phase
// and a token. A token of 0 is not known yet: whoever took it got no answer.
type held struct {
	owner  policy.InstanceID
	acting bool
	token  int64
	from   int64 // the token that was marked
}

type semaphoreState struct {
	slots int
	holds []held // by owner
	// rev is the latest revision of the store that an operation up to here told.
	// Tokens are such revisions, and never go back: a newer hold fences an older.
	rev int64
}

type opKind string

const (
	opTake    opKind = "take"    // or, at a token, change in place
	opMark    opKind = "mark"    // acting
	opRelease opKind = "release" // anybody's hold: also an eviction
	opLook    opKind = "look"
)

type opInput struct {
	kind   opKind
	client policy.InstanceID
	owner  policy.InstanceID // of the hold that is released
	token  int64             // that was seen
	acting bool
	why    string // names a take
}

type opResult string

const (
	opDone    opResult = "done"
	opRefused opResult = "refused" // something was not as it had to be
	opFull    opResult = "full"    // refused because all slots are held
	opUnknown opResult = "unknown" // no answer: done at any time from then on, or never
)

type opOutput struct {
	result opResult
	token  int64  // of the own hold after it
	rev    int64  // of the look, or at which the hold ended that was released; 0: not known
	holds  []held // what it found
	said   string // why it was refused
}

// semaphoreModel is what the lock promises. An operation of unknown outcome ends with
// its history: to take effect last of all is to take none.
func semaphoreModel(slots int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return semaphoreState{slots: slots} },
		Step: func(s, in, out any) (bool, any) {
			return s.(semaphoreState).step(in.(opInput), out.(opOutput))
		},
		Equal: func(a, b any) bool {
			x, y := a.(semaphoreState), b.(semaphoreState)
			return x.rev == y.rev && slices.Equal(x.holds, y.holds)
		},
		Hash: func(s any) uint64 {
			sum := uint64(s.(semaphoreState).rev)
			for _, h := range s.(semaphoreState).holds {
				sum = sum*31 + uint64(h.token) + uint64(len(h.owner))
				for _, c := range []byte(h.owner) {
					sum = sum*31 + uint64(c)
				}
			}
			return sum
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %+v", in, out) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
}

func (s semaphoreState) find(owner policy.InstanceID) int {
	return slices.IndexFunc(s.holds, func(h held) bool { return h.owner == owner })
}

func same(a, b int64) bool { return a == b || a == 0 || b == 0 }

// with gives the state with a hold set; i is where it was, -1 for nowhere.
func (s semaphoreState) with(i int, h held) semaphoreState {
	holds := slices.Clone(s.holds)
	if i >= 0 {
		holds[i] = h
	} else {
		holds = append(holds, h)
		slices.SortFunc(holds, byOwner)
	}
	return semaphoreState{s.slots, holds, max(s.rev, h.token)}
}

func byOwner(a, b held) int { return cmp.Compare(a.owner, b.owner) }

func (s semaphoreState) newer(token int64) bool { return token == 0 || token > s.rev }

func (s semaphoreState) step(in opInput, out opOutput) (bool, semaphoreState) {
	switch in.kind {
	case opTake:
		return s.take(in, out)
	case opMark:
		return s.mark(in, out)
	case opRelease:
		return s.release(in, out)
	}
	return s.look(out)
}

func (s semaphoreState) take(in opInput, out opOutput) (bool, semaphoreState) {
	i := s.find(in.client)
	taken := held{owner: in.client, acting: in.acting, token: out.token}
	switch out.result {
	case opRefused:
		return true, s
	case opFull:
		return len(s.holds) >= s.slots, s
	case opUnknown:
		if !s.newer(out.token) {
			return true, s
		}
		if i < 0 && in.token == 0 && len(s.holds) < s.slots || i >= 0 && in.token != 0 && same(s.holds[i].token, in.token) {
			return true, s.with(i, taken)
		}
		return true, s
	}
	switch {
	case i < 0:
		return in.token == 0 && len(s.holds) < s.slots && s.newer(out.token), s.with(i, taken)
	case s.holds[i].acting == in.acting && same(s.holds[i].token, out.token) && s.holds[i].token != in.token:
		taken.from = s.holds[i].from // held as wanted already, by an earlier try
		return true, s.with(i, taken)
	}
	return in.token != 0 && same(s.holds[i].token, in.token) && s.newer(out.token), s.with(i, taken)
}

func (s semaphoreState) mark(in opInput, out opOutput) (bool, semaphoreState) {
	i := s.find(in.client)
	at := i >= 0 && same(s.holds[i].token, in.token)
	marked := held{owner: in.client, acting: true, token: out.token, from: in.token}
	switch {
	case out.result == opUnknown && (!at || !s.newer(out.token)):
		return true, s
	case out.result == opUnknown:
		return true, s.with(i, marked)
	case out.result != opDone:
		return i < 0 || s.holds[i].token != in.token, s
	case i >= 0 && s.holds[i].acting && s.holds[i].from == in.token && same(s.holds[i].token, out.token):
		return true, s.with(i, marked)
	}
	if !at || !s.newer(out.token) {
		return false, s
	}
	return true, s.with(i, marked)
}

func (s semaphoreState) release(in opInput, out opOutput) (bool, semaphoreState) {
	i := s.find(in.owner)
	if i < 0 || !same(s.holds[i].token, in.token) {
		return true, s // gone already, or changed
	}
	if out.result == opRefused || out.result == opFull {
		return s.holds[i].token != in.token, s
	}
	if !s.newer(out.rev) {
		return false, s
	}
	return true, semaphoreState{s.slots, slices.Delete(slices.Clone(s.holds), i, i+1), max(s.rev, out.rev)}
}

// look: what it finds is exactly what is, and makes tokens known.
func (s semaphoreState) look(out opOutput) (bool, semaphoreState) {
	if out.result != opDone {
		return true, s
	}
	if len(out.holds) != len(s.holds) || out.rev < s.rev {
		return false, s
	}
	for i, h := range s.holds {
		got := out.holds[i]
		if got.owner != h.owner || got.acting != h.acting || !same(h.token, got.token) {
			return false, s
		}
		got.from = h.from
		s = s.with(i, got)
	}
	s.rev = out.rev
	return true, s
}
