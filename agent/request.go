package agent

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// requestTimeout bounds how long an operator's request waits for its outcome.
const requestTimeout = time.Minute

// requests are the operators' requests that wait for an answer.
type requests struct {
	mu   sync.Mutex
	last int
	wait map[string]chan policy.AnswerRequest
}

func (r *requests) init() { r.wait = make(map[string]chan policy.AnswerRequest) }

func (r *requests) add() (id string, answer <-chan policy.AnswerRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	id = strconv.Itoa(r.last)
	ch := make(chan policy.AnswerRequest, 1)
	r.wait[id] = ch
	return id, ch
}

func (r *requests) drop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.wait, id)
}

func (r *requests) answer(a policy.AnswerRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ch, ok := r.wait[a.ID]; ok {
		ch <- a
		delete(r.wait, a.ID)
	}
}

// ask hands a request to policy, under an id of its own, and waits for its outcome,
// at most patience; then the answer is no, with the reason why it is not decided.
// The error is an outcome that is not known.
func (a *Agent) ask(ctx context.Context, r policy.Request, patience time.Duration) (policy.AnswerRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, ch := a.waiting.add()
	defer a.waiting.drop(id)
	r.ID = id
	a.board.change(func(v *policy.View) {
		v.Requests = append(append([]policy.Request(nil), v.Requests...), r)
	})
	select {
	case answer := <-ch:
		return answer, nil
	case <-ctx.Done():
	}
	begun := false
	a.board.change(func(v *policy.View) {
		landed(v, policy.AnswerRequest{ID: id})
		if v.InFlight != nil {
			ans, ok := policy.Answer(v.InFlight.Action)
			begun = ok && ans.ID == id
		}
	})
	select {
	case answer := <-ch:
		return answer, nil
	default:
	}
	if begun {
		return policy.AnswerRequest{}, errors.New("it was begun, and its outcome is not known yet: ask again")
	}
	ver := policy.Verdict{Reason: policy.Idle, Detail: "this agent has not decided anything yet"}
	if p := a.Published(); p != nil {
		ver = p.Decision.Verdicts[policy.ConcernRequest]
	}
	return policy.AnswerRequest{ID: id, Undecided: true, Reason: ver.Reason, Answer: strings.TrimSpace("not decided in time: " + ver.Detail)}, nil
}
