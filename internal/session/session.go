// Package session is the heart: log in, refresh, check, log out.
//
// A session is one login on one device. It is one row that is only ever
// updated; its refresh tokens are a line of generations, and the rule that
// decides about each presented token is the pure function Family.Present.
//
// The package refuses to know HTTP beyond cookie.go, SQL, or where passwords
// come from. Its invariants: revoked is terminal; while a strike is open the
// generation does not move; what a caller is told has been committed.
package session

import (
	"errors"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// Session is one login on one device.
type Session struct {
	ID       token.SessionID
	Tenant   string
	UserID   string
	Username string
	// Client is who keeps the tokens: ClientWeb for cookies, ClientAPI for
	// tokens in the body.
	Client string
	// Secret is the session's own 32 bytes, an ingredient of the inner tag.
	Secret [32]byte
	Family
	// TenantEpoch and UserEpoch are the epochs at login. The session is over
	// when either has moved. A session that catches up with a restored database
	// gets the newest one of the tenant.
	TenantEpoch, UserEpoch uint64
	CreatedAt              time.Time
	// AbsoluteExpiry is fixed at login and bound into the inner tag.
	AbsoluteExpiry time.Time
	// LastActivity is the newest known use of any of the session's tokens,
	// merged in batches.
	LastActivity time.Time
	// Retries counts answers that gave the same token again (rows 10 and 12),
	// merged in batches.
	Retries uint64
	// LoginAddress and LastAddress are client addresses without port.
	LoginAddress, LastAddress string
	// UserAgent is the client's own claim at login, cut to 200 bytes.
	UserAgent string
	// Device is the hash of the device cookie under binding "device".
	Device [32]byte
	// Scope is what the session has of its client's scopes, separated by spaces;
	// empty for all of them.
	Scope string
	// Confirm is the key that the session's tokens are bound to, empty for none.
	Confirm token.Confirmation
	// RevokedBy names the actor who ended the session.
	RevokedBy string
}

// The clients of FOLIO's own login paths, for policies per client.
const (
	ClientWeb = "folio-web" // tokens in HttpOnly cookies
	ClientAPI = "folio-api" // tokens in bodies
	// ClientConsole is the operators' console. Its tokens hold there and nowhere
	// else, and no others do; see Policy.console.
	ClientConsole = "counterfoil-console"
)

// Binding is what the session's refresh tokens are tied to.
func (s *Session) Binding() token.Binding {
	return token.Binding{
		Session: s.ID, Secret: s.Secret, Tenant: s.Tenant, UserID: s.UserID,
		AbsoluteExpiry: s.AbsoluteExpiry,
	}
}

// Reason is why a session ended.
type Reason string

// The reasons. They are stable and shown to people.
const (
	LoggedOut       Reason = "logout"
	LoggedOutAll    Reason = "logout_all"
	RefreshReuse    Reason = "refresh_reuse"
	RevokedByAdmin  Reason = "revoked"
	Evicted         Reason = "too_many_sessions"
	UserDeactivated Reason = "user_deactivated"
	UserDeleted     Reason = "user_deleted"
	PasswordChanged Reason = "password_changed"
	TenantEnded     Reason = "tenant_ended"
	StoreRestored   Reason = "store_restored"
)

// The internal errors, translated once at each edge.
var (
	// ErrNotFound is a session, user or tenant that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable is a store that cannot answer now: 503, retry.
	ErrUnavailable = errors.New("store unavailable")
	// ErrBusy is too much work at once: 503, retry.
	ErrBusy = errors.New("too busy")
	// ErrCredentials is a login refused, whatever the reason.
	ErrCredentials = errors.New("wrong user name or password, or account blocked")
	// ErrInvalid is input that cannot be right.
	ErrInvalid = errors.New("invalid")
	// ErrForbidden is a caller who may not do this.
	ErrForbidden = errors.New("forbidden")
)

// EndedSession reports that a session is over, with the time until which its access
// tokens could otherwise have lived.
type EndedSession struct {
	Session token.SessionID
	At      time.Time
}

// Seen is what this node noticed about a session since the last flush. The
// store merges generations and times by max and adds Retries.
type Seen struct {
	Session token.SessionID
	Gen     uint64
	At      time.Time
	Retries uint64
}
