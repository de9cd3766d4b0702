package client

import (
	"fmt"
	"time"
)

// Reason is why a session ended.
type Reason string

// The reasons.
const (
	// ReasonRefused: the server takes the refresh token no more. It expired,
	// was revoked or logged out; the server does not say which. The tokens are
	// forgotten.
	ReasonRefused Reason = "refresh refused"
	// ReasonNotNow: the server refused to refresh and did not say that the
	// session has ended. Its user may be inactive, for instance. The tokens are
	// kept, and tried again when half a minute and more has passed.
	ReasonNotNow Reason = "refresh refused for now"
	// ReasonSuperseded: somebody else renewed this session, and nobody here
	// has the newer token. Two programs without a common Store do that to each
	// other, and a thief does it to the owner.
	ReasonSuperseded Reason = "superseded"
	// ReasonLost: a FOLIO whose refresh tokens work once did not answer a
	// refresh. Presenting the token again would end all sessions of the user.
	ReasonLost Reason = "answer lost"
	// ReasonCredentials: the server refused to log in.
	ReasonCredentials Reason = "login refused"
	// ReasonLoggedOut: Logout was called.
	ReasonLoggedOut Reason = "logged out"
	// ReasonNoLogin: there are no tokens and no way to get any.
	ReasonNoLogin Reason = "nothing to log in with"
)

// SessionEnded says that there is no session and that none could be begun.
// Trying again at once is of no use; a new Session is.
type SessionEnded struct {
	Reason Reason
	// Err is what the server said, or nil.
	Err error
}

func (e *SessionEnded) Error() string {
	if e.Err == nil {
		return "client: session ended: " + string(e.Reason)
	}
	return fmt.Sprintf("client: session ended: %s: %v", e.Reason, e.Err)
}

func (e *SessionEnded) Unwrap() error { return e.Err }

// RefreshUnavailable says that nobody could tell whether the session goes on:
// the server was not reached or is busy. The session may well be alive.
type RefreshUnavailable struct {
	// RetryAfter is when the server wants to be asked again; 0 if it did not say.
	RetryAfter time.Duration
	Err        error
	// unserved is whether the server certainly did nothing.
	unserved bool
	// settled is whether asking again at once is of no use.
	settled bool
}

func (e *RefreshUnavailable) Error() string {
	return fmt.Sprintf("client: the session cannot be renewed at the moment: %v", e.Err)
}

func (e *RefreshUnavailable) Unwrap() error { return e.Err }

// NotReplayable says that the server refused a request because the access
// token had ended, and that the body of the request cannot be read again. The
// request was not served: send it once more, and set its GetBody so that this
// need not happen.
type NotReplayable struct{}

func (*NotReplayable) Error() string {
	return "client: the access token had ended and the request's body cannot be read again: send the request once more"
}

// superseded is a refresh token that is not the newest. Heal is the nonce that
// whoever has the newest must bring along, or the session ends.
type superseded struct {
	heal    string
	cookies map[string]string
}

func (*superseded) Error() string { return "there is a newer refresh token" }

// refusal is an answer that is no success.
type refusal struct {
	path    string
	status  int
	message string
	// final is whether the server said that the session has ended.
	final bool
}

func (e *refusal) Error() string {
	if e.message == "" {
		return fmt.Sprintf("%s answered %d", e.path, e.status)
	}
	return fmt.Sprintf("%s answered %d %q", e.path, e.status, e.message)
}
