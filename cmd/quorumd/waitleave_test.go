package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

// leavingStatus is the status of a node whose concern leave has a reason; marked: it
// has the marker of one that was told to go.
func leavingStatus(reason policy.Reason, marked bool) peer.Status {
	s := peer.Status{Instance: "i-0a", Record: peer.Record{Instance: "i-0a"}}
	s.Decision.Concerns = []peer.Verdict{{Concern: "join", Reason: "Voting"}, {Concern: "leave", Reason: string(reason)}}
	if marked {
		s.Record.Leaving = &peer.Leaving{Target: "Terminated"}
	}
	return s
}

func TestLeavingBy(t *testing.T) {
	foreign := leavingStatus(policy.AwaitLock, true)
	foreign.Record.Instance = "i-0b"
	for _, tt := range []struct {
		status peer.Status
		waits  bool
	}{
		{leavingStatus(policy.NotLeaving, false), false},
		{leavingStatus(policy.LifecycleUnknown, false), false},
		{leavingStatus(policy.GiveBackLock, false), false}, // a slot of a leave that was taken back
		{leavingStatus(policy.MarkLeaving, false), true},
		{leavingStatus(policy.AwaitReplacement, true), true},
		{leavingStatus(policy.MembershipUnknown, true), true},
		{leavingStatus(policy.Busy, true), true},
		{leavingStatus(policy.StopAfterRemoval, true), true},
		{leavingStatus(policy.CompleteLeave, true), true},
		{leavingStatus(policy.AwaitHook, true), false},
		{leavingStatus(policy.LeaveDoubted, true), false},
		{leavingStatus(policy.GroupEnds, true), false},
		{leavingStatus(policy.Left, true), false},
		{foreign, false}, // the disk of another instance
		{peer.Status{}, false},
	} {
		if reason, waits := leavingBy(tt.status); waits != tt.waits {
			t.Errorf("%s, marked %t: waits is %t", reason, tt.status.Record.Leaving != nil, waits)
		}
	}
}

// answer is what the agent says from a time on.
type answer struct {
	from   time.Duration
	status peer.Status
	err    error
}

func TestWaitLeave(t *testing.T) {
	gone := fmt.Errorf("ask: %w", peer.ErrUnreachable)
	tests := []struct {
		name    string
		answers []answer
		took    time.Duration
		said    string
		err     string
		code    int
	}{
		{"not leaving", []answer{{0, leavingStatus(policy.NotLeaving, false), nil}}, 0, "Nothing to wait for: NotLeaving.\n", "", exitOK},
		{"leaves", []answer{
			{0, leavingStatus(policy.AwaitLock, true), nil},
			{10 * time.Second, leavingStatus(policy.CompleteLeave, true), nil},
			{11 * time.Second, leavingStatus(policy.Left, true), nil}},
			11 * time.Second, "Leaving: AwaitLock.\nLeaving: CompleteLeave.\nNothing to wait for: Left.\n", "", exitOK},
		{"too slow", []answer{{0, leavingStatus(policy.QuorumWouldBreak, true), nil}}, 90 * time.Second,
			"Leaving: QuorumWouldBreak.\n", "the time is over, and this node has not left: QuorumWouldBreak", exitFailed},
		{"no agent", []answer{{0, peer.Status{}, gone}}, leaveSilence, "", "ask: the agent cannot be reached", exitUnreachable},
		{"agent starts anew", []answer{
			{0, leavingStatus(policy.AwaitLock, true), nil}, {time.Second, peer.Status{}, gone},
			{5 * time.Second, leavingStatus(policy.AwaitLock, true), nil}, {9 * time.Second, leavingStatus(policy.Left, true), nil}},
			9 * time.Second, "Leaving: AwaitLock.\nNothing to wait for: Left.\n", "", exitOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ask := func(context.Context) (peer.Status, error) {
					now := tt.answers[0]
					for _, a := range tt.answers {
						if time.Since(start) >= a.from {
							now = a
						}
					}
					return now.status, now.err
				}
				ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
				defer cancel()
				var errs bytes.Buffer
				err := (&app{ui: &ui{err: &errs}}).waitLeave(ctx, ask)
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if got := exitCode(err); got != tt.code || (err != nil && err.Error() != tt.err) {
					t.Errorf("got %v, exit code %d, want %q, %d", err, got, tt.err, tt.code)
				}
				if errs.String() != tt.said {
					t.Errorf("said %q, want %q", &errs, tt.said)
				}
			})
		})
	}
}

// An agent that takes the question and never answers is silent, too.
func TestWaitLeaveHungAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		err := (&app{ui: &ui{err: new(bytes.Buffer)}}).waitLeave(ctx, func(ctx context.Context) (peer.Status, error) {
			<-ctx.Done()
			return peer.Status{}, ctx.Err()
		})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > leaveSilence+leaveAsk+leaveLook {
			t.Errorf("got %v after %s", err, took)
		}
	})
}
