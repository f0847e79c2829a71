package etcd

import (
	"context"
	"errors"
	"net"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The ways in which a lock operation is refused.
var (
	// ErrNotHead: somebody is ahead in the queue.
	ErrNotHead = errors.New("not at the head of the queue")
	// ErrSlotTaken: another instance holds the slot.
	ErrSlotTaken = errors.New("the slot is taken")
	// ErrTurnPassed: somebody took a slot since what was seen, so what was checked
	// then may no longer be so.
	ErrTurnPassed = errors.New("a slot was taken since")
	// ErrVotes: a removal was decided about a learner, which votes by now.
	ErrVotes = errors.New("the member votes by now")
	// ErrHoldChanged: the hold is no longer at the revision that was seen.
	ErrHoldChanged = errors.New("the hold has changed")
)

// errRefused marks this package's own refusals.
var errRefused = errors.New("refused")

// CannotTellError marks an error behind which etcd may be well: it was our
// certificate, password or permission that stood in between.
type CannotTellError struct{ Err error }

func (e *CannotTellError) Error() string { return e.Err.Error() }
func (e *CannotTellError) Unwrap() error { return e.Err }

// lateError is a refusal before which another try may have succeeded.
type lateError struct{ err error }

func (e *lateError) Error() string {
	return "an earlier try got no answer and may have succeeded; since then: " + e.err.Error()
}
func (e *lateError) Unwrap() error { return e.err }

// ErrClass says what an error proves.
type ErrClass string

// The classes.
const (
	// NoError is the class of nil.
	NoError ErrClass = ""
	// CannotTell: certificates, passwords or permissions stand in between, or
	// the error is not understood. It is no evidence against etcd.
	CannotTell ErrClass = "cannot-tell"
	// NoAnswer: nobody answered in time, or whoever did has no quorum behind it.
	// A write may have happened nevertheless.
	NoAnswer ErrClass = "no-answer"
	// Refused: etcd answered, and said no; nothing was changed.
	Refused ErrClass = "refused"
)

// Classify tells the class of an error of this package. Of an error that joins
// several endpoints' the class is CannotTell if any is, else NoAnswer if any is.
func Classify(err error) ErrClass {
	if err == nil {
		return NoError
	}
	var cannot *CannotTellError
	var attempts *attemptsError
	var late *lateError
	switch {
	case errors.As(err, &late):
		return NoAnswer
	case errors.As(err, &attempts):
		class := Refused
		for _, e := range attempts.errs {
			switch Classify(e) {
			case CannotTell:
				return CannotTell
			case NoAnswer:
				class = NoAnswer
			}
		}
		return class
	case errors.As(err, &cannot):
		return CannotTell
	case errors.Is(err, ErrNotHead), errors.Is(err, ErrSlotTaken), errors.Is(err, ErrHoldChanged), errors.Is(err, ErrTurnPassed), errors.Is(err, ErrVotes), errors.Is(err, errRefused):
		return Refused
	case errors.Is(err, errNoEndpoints), errors.Is(err, errSkipped), errors.Is(err, errClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return NoAnswer
	}
	return classifyCall(err)
}

// classifyCall classifies what etcd or gRPC said.
func classifyCall(err error) ErrClass {
	code := codes.Unknown
	var answer rpctypes.EtcdError
	isAnswer := errors.As(err, &answer)
	if isAnswer {
		code = answer.Code()
	} else {
		var st interface{ GRPCStatus() *status.Status }
		if !errors.As(err, &st) {
			return CannotTell
		}
		code = st.GRPCStatus().Code()
	}
	for _, auth := range []error{
		rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrInvalidAuthToken,
		rpctypes.ErrAuthOldRevision, rpctypes.ErrPermissionDenied,
	} {
		if errors.Is(err, auth) {
			return CannotTell
		}
	}
	switch code {
	case codes.Unavailable:
		if !isAnswer && handshakeFailed(err.Error()) {
			return CannotTell
		}
		return NoAnswer
	case codes.DeadlineExceeded, codes.Canceled:
		return NoAnswer
	case codes.PermissionDenied, codes.Unauthenticated, codes.Unknown, codes.Internal, codes.Unimplemented:
		return CannotTell
	}
	return Refused
}

// mayHaveArrived reports whether a write that ended with this error may be applied, or
// may be yet. What etcd refused is not; nor is what there was no connection for.
func mayHaveArrived(err error) bool {
	if err == nil || notSent(err) {
		return false
	}
	var answer rpctypes.EtcdError
	return !errors.As(err, &answer) || Classify(err) == NoAnswer
}

// notSent reports whether a call cannot have reached anybody, because no connection
// could be made to send it on. gRPC hands on only the text, and has "connection error"
// also in that of a call which was under way when its connection broke.
func notSent(err error) bool {
	if status.Code(err) != codes.Unavailable {
		return false
	}
	for _, text := range []string{"transport: Error while dialing: ", "transport: authentication handshake failed: ", "error reading server preface: "} {
		if strings.Contains(err.Error(), `connection error: desc = "`+text) {
			return true
		}
	}
	return false
}

// handshakeFailed reports whether a connection was made, but TLS or HTTP/2 was
// not agreed on. gRPC hands on only the text. A peer that hangs in the handshake
// is no such case. One that closes it is: that is how TLS and plain HTTP meet,
// and how certificates are refused; a member that was killed in that very moment
// refuses the next connection.
func handshakeFailed(text string) bool {
	if strings.Contains(text, "x509: ") || strings.Contains(text, "tls: ") {
		return true
	}
	// A connection that we closed ourselves, tired of waiting for the other side's preface,
	// is a time-out as well.
	if strings.Contains(text, "deadline exceeded") || strings.Contains(text, "timeout") || strings.Contains(text, net.ErrClosed.Error()) {
		return false
	}
	return strings.Contains(text, "handshake failed") || strings.Contains(text, "error reading server preface")
}

// othersMayDiffer reports whether another endpoint could give another answer.
func othersMayDiffer(err error) bool {
	if Classify(err) == NoAnswer || errors.Is(err, errSkipped) {
		return true
	}
	var answer rpctypes.EtcdError
	if !errors.As(err, &answer) {
		// Not an answer of etcd: this endpoint's connection or certificate. Our
		// own refusals are made from answers and hold for all.
		return Classify(err) != Refused
	}
	// What only this member cannot do.
	return notForLearner(answer) || errors.Is(err, rpctypes.ErrNotCapable) || errors.Is(err, rpctypes.ErrNotLeader)
}

// notForLearner reports whether a learner said that it does not do such things.
func notForLearner(err error) bool { return strings.Contains(err.Error(), "not supported for learner") }

// errSkipped: this endpoint must not be asked; another one may.
var errSkipped = errors.New("not asked")
