package session

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Effects is what an update callback wants done with its session, in the same
// transaction.
type Effects struct {
	// Save writes the session back. False leaves the row untouched.
	Save bool
	// EndUser also ends every other session of the same user, for this reason
	// if it is not empty.
	EndUser Reason
	// Events are written with the rest, or not at all.
	Events []audit.Event
	// Meanwhile is work for the caller of UpdateSession, on its own goroutine, that
	// a store may have done while it writes and waits for the disk. It may be
	// called after decide and before UpdateSession returns, or not at all, and what
	// it made is worth nothing unless the update was made.
	Meanwhile func()
}

// Store keeps sessions. Every method is atomic and durable when it returns
// nil. Errors that may pass are ErrUnavailable; a missing row is ErrNotFound.
type Store interface {
	// CreateSession stores s with the epochs of its tenant and user. If the
	// user then has more than limit live sessions, the longest idle end in the
	// same transaction, with an event each.
	CreateSession(ctx context.Context, s *Session, limit int, events ...audit.Event) error

	// UpdateSession loads the session under its lock, lets decide change it
	// and commits what Effects say. now is the store's clock, read under the
	// lock. decide runs once or more and touches nothing but its argument. If
	// ctx ends before decide has run, nothing happens; if it ends before the store
	// begins to write, nothing may have happened, and then the error says so.
	// UpdateSession returns after the commit, and after all change listeners have
	// run.
	UpdateSession(ctx context.Context, id token.SessionID, decide func(now time.Time, s *Session) Effects) error

	// Session reads one session.
	Session(ctx context.Context, id token.SessionID) (*Session, error)

	// ListSessions reads a page.
	ListSessions(ctx context.Context, f Filter) (Page, error)

	// EndSessions ends the live sessions of one user, but for one that may be
	// spared, moves the user's epoch if none is spared, and writes event once
	// for each. It returns how many ended.
	EndSessions(ctx context.Context, who Scope, why Reason, event audit.Event) (int, error)

	// MergeSeen merges what a node noticed.
	MergeSeen(ctx context.Context, seen []Seen) error

	// SweepSessions deletes at most limit sessions that ended or expired before
	// the time, with their events, and returns how many.
	SweepSessions(ctx context.Context, before time.Time, limit int) (int, error)
}

// Scope names sessions to end: those of a user, or of a whole tenant when
// UserID is empty.
type Scope struct {
	Tenant, UserID string
	Except         token.SessionID
}

// Filter selects sessions. Empty fields select all.
type Filter struct {
	Tenant, UserID, Client, Address string
	// ByActivity orders by the day of the last activity, the latest first, and
	// within a day by login; otherwise the order is that of the logins alone.
	ByActivity bool
	// Live leaves out the ended and expired.
	Live bool
	// Cursor continues after a page; it is Page.Next.
	Cursor string
	// Limit is 1 to 1000; 0 is 100.
	Limit int
}

// Page is a page of sessions, newest first.
type Page struct {
	Sessions []Session
	// Next is empty on the last page.
	Next string
}

// ChangeKind is what a Change is about.
type ChangeKind string

// The kinds of changes that every node must hear of.
const (
	SessionEnded       ChangeKind = "session"
	EpochMoved         ChangeKind = "epoch"
	UserChanged        ChangeKind = "user"
	PermissionsChanged ChangeKind = "permissions"
	TenantsChanged     ChangeKind = "tenants"
	PoliciesChanged    ChangeKind = "policies"
	KeysChanged        ChangeKind = "keys"
	ModulesChanged     ChangeKind = "modules"
	APIKeysChanged     ChangeKind = "api_keys"
	ClientsChanged     ChangeKind = "clients"
)

// Change tells the nodes what their memory must forget or learn. Changes are
// numbered in the order of their commits.
type Change struct {
	Seq            uint64
	Kind           ChangeKind
	Tenant, UserID string
	Session        token.SessionID
	Epoch          uint64
	At             time.Time
}

// Feed brings committed changes into memory, so that no request has to ask the
// store whether its token still holds.
type Feed interface {
	// OnChange registers a listener. It is called after each commit and before
	// the change is acknowledged to whoever made it, in order, one at a time.
	// Listeners are registered before the store is used.
	OnChange(listen func([]Change))
	// EndedSince lists the sessions that ended at or after t: those whose
	// access tokens may still live.
	EndedSince(ctx context.Context, t time.Time) ([]EndedSession, error)
	// Epochs lists the epoch of all tenants, which restores move, those of
	// tenants, and of users whose epoch moved at or after t, in this order.
	Epochs(ctx context.Context, t time.Time) ([]Change, error)
	// Struck lists the live sessions with an open strike.
	Struck(ctx context.Context) ([]Struck, error)
}

// Struck is a session with an open strike, and since when.
type Struck struct {
	Session  token.SessionID
	StrikeAt time.Time
}

// AccountStore keeps what belongs to a user and ends sessions in the same
// transaction where that must be.
type AccountStore interface {
	// Credential returns the encoded password hash, ErrNotFound if none.
	Credential(ctx context.Context, tenant, userID string) (string, error)
	// SetCredential stores a hash if the present one is old ("" is none) and
	// returns false if it is not.
	SetCredential(ctx context.Context, tenant, userID, old, encoded string, events ...audit.Event) (bool, error)
	// ChangePassword stores a hash unconditionally and ends all sessions of
	// the user but for one that may be spared.
	ChangePassword(ctx context.Context, who Scope, encoded string, event audit.Event) (ended int, err error)
	// CreateUser stores user, grants and, unless encoded is empty, credential.
	// It fails with directory.ErrExists for a taken id or name.
	CreateUser(ctx context.Context, u directory.User, g directory.Grants, encoded string, event audit.Event) error
	// UpdateUser replaces the record. A user that is no longer active loses
	// all sessions.
	UpdateUser(ctx context.Context, u directory.User, event audit.Event) (ended int, err error)
	// DeleteUser removes user, credential and grants and ends all sessions.
	DeleteUser(ctx context.Context, tenant, userID string, event audit.Event) (ended int, err error)
	// SetGrants replaces what the user was given.
	SetGrants(ctx context.Context, tenant, userID string, g directory.Grants, event audit.Event) error
}

// EventStore keeps audit events.
type EventStore interface {
	// AppendEvents writes events that belong to no other change, such as
	// failed logins.
	AppendEvents(ctx context.Context, events ...audit.Event) error
	// Events reads events, newest first.
	Events(ctx context.Context, f EventFilter) ([]audit.Event, error)
}

// EventFilter selects events. Empty fields select all.
type EventFilter struct {
	Tenant, UserID, Session string
	Kind                    audit.Kind
	// Notable selects the kinds of audit.Notable; with it, none of the others but
	// Tenant.
	Notable bool
	// Since and Until bound the time, the later one excluded; zero is no bound.
	Since, Until time.Time
	// Before continues: only events with a smaller number, 0 for the newest.
	Before int64
	// Limit is 1 to 1000; 0 is 100.
	Limit int
}

// PolicyStore keeps overrides of the default policy.
type PolicyStore interface {
	Policies(ctx context.Context) ([]PolicyOverride, error)
	// SavePolicy replaces the override with the same scope and name; an empty
	// patch deletes it.
	SavePolicy(ctx context.Context, o PolicyOverride, event audit.Event) error
}
