package agent

import (
	"context"
	"fmt"
	"strconv"
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

// Submit hands an operator's request to policy and waits for its outcome, at
// most a minute; then the answer is the reason why it has not been decided yet.
func (a *Agent) Submit(ctx context.Context, kind policy.RequestKind) (ok bool, answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	id, ch := a.waiting.add()
	defer a.waiting.drop(id)
	a.board.change(func(v *policy.View) {
		v.Requests = append(append([]policy.Request(nil), v.Requests...), policy.Request{ID: id, Kind: kind})
	})
	select {
	case r := <-ch:
		return r.OK, r.Answer, nil
	case <-ctx.Done():
	}
	a.board.change(func(v *policy.View) { landed(v, policy.AnswerRequest{ID: id}) })
	ver := a.Published().Decision.Verdicts[policy.ConcernRequest]
	return false, "", fmt.Errorf("not decided in time: %s %s", ver.Reason, ver.Detail)
}
