package store

import (
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

var (
	// ErrLocked is a store that another process has open. Its text names the
	// process. Commands then talk to the running program instead.
	ErrLocked = errors.New("the store is in use")
	// ErrSchema is a store whose schema this program does not know.
	ErrSchema = errors.New("the store's schema is not known to this program")
)

// notFound is a missing thing, by its name. It is ErrNotFound in the words of
// every package that asks.
type notFound string

func (e notFound) Error() string { return string(e) + " not found" }

func (e notFound) Is(target error) bool {
	return target == session.ErrNotFound || target == directory.ErrNotFound
}

// errMisuse is a callback that broke its contract. Nothing was stored.
var errMisuse = errors.New("store misused")

func misuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMisuse, fmt.Sprintf(format, args...))
}

// public turns an error of the engine into one of the contracts. The text of
// an outage is the engine's name for the fault; its longer messages may hold
// SQL, which helps nobody who gets a 503.
func public(err error) error {
	code := sqlite.ErrCode(err)
	switch code.ToPrimary() {
	case sqlite.ResultOK, sqlite.ResultError:
		// None, one of our own, or SQL that is wrong.
		return err
	case sqlite.ResultConstraint, sqlite.ResultMismatch, sqlite.ResultRange, sqlite.ResultTooBig, sqlite.ResultMisuse:
		// Trying again would not help.
		return fmt.Errorf("store refused the row: %s", code.Message())
	}
	return fmt.Errorf("%w: %s", session.ErrUnavailable, code.Message())
}
