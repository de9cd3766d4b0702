package session

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// PasswordStore keeps what is about passwords beside the one that is valid.
type PasswordStore interface {
	// FailAttempt counts a wrong password, writes the events and returns how
	// many there were in a row, each within window of the one before.
	FailAttempt(ctx context.Context, tenant, userID string, window time.Duration, events ...audit.Event) (int, error)
	// Attempts fails with ErrNotFound if none ever failed.
	Attempts(ctx context.Context, tenant, userID string) (Attempts, error)
	// ClearAttempts begins the count anew.
	ClearAttempts(ctx context.Context, tenant, userID string) error

	// FormerPasswords are hashes that ChangePassword and UseAction replaced,
	// the newest first, at most limit.
	FormerPasswords(ctx context.Context, tenant, userID string, limit int) ([]string, error)
	// DeleteCredential removes the hash and all that belongs to it and ends all
	// sessions of the user. Without a hash it is ErrNotFound.
	DeleteCredential(ctx context.Context, tenant, userID string, event audit.Event) (ended int, err error)

	// SaveAction stores an action in place of the user's former one and tells
	// whether the user has a password.
	SaveAction(ctx context.Context, a PasswordAction, event audit.Event) (hasPassword bool, err error)
	// Action reads an action, also one that is over.
	Action(ctx context.Context, tenant, id string) (PasswordAction, error)
	// UseAction stores a hash and ends all sessions of the user, if the action
	// is still there unchanged and not over, and removes it: of many who try,
	// one succeeds. The others get ErrNotFound. first is whether the user had
	// no password before.
	UseAction(ctx context.Context, a PasswordAction, encoded string, event audit.Event) (first bool, ended int, err error)

	// FindUsers finds users by id, name or e-mail address, at most limit.
	FindUsers(ctx context.Context, tenant, who string, limit int) ([]directory.User, error)
	// LoginLog reads a page of events that are about a user, newest first, and
	// how many there are, counted up to 10,000. Those from before the user's
	// last audit.LoginLogCleared are left out.
	LoginLog(ctx context.Context, f LogFilter) ([]audit.Event, int, error)
}

// Attempts is a count of wrong passwords in a row.
type Attempts struct {
	Count int
	Last  time.Time
}

// PasswordAction is the right to set a user's password once: FOLIO's password
// reset action.
type PasswordAction struct {
	Tenant, ID, UserID string
	Expires            time.Time
	// Secret is the SHA-256 of a link's token. Zero is an action of a module,
	// which proves by a permission that it may use it.
	Secret [32]byte
}

// LogFilter selects events of the login log.
type LogFilter struct {
	Tenant string
	// UserID is empty for all users.
	UserID string
	Kinds  []audit.Kind
	// Offset is at most 10,000, Limit 1 to 1000.
	Offset, Limit int
}
