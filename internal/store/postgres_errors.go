package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// sqlState is the code of an error that the server told, "" for any other, such
// as a lost connection.
func sqlState(err error) string {
	var told *pgconn.PgError
	if errors.As(err, &told) {
		return told.Code
	}
	return ""
}

// passing are the classes and codes of what may be over at the next attempt, or
// when the operator has acted. Longer ones come first.
var passing = []struct{ code, text string }{
	{"25006", "the database is read-only"},
	{"25P03", "a transaction was idle for too long"},
	{"55P03", "a lock was not to be had in time"},
	{"57014", "a statement took too long"},
	{"53100", "the database's disk is full"},
	{"53300", "the database has too many connections"},
	{"08", "the connection was lost"},
	{"28", "the database does not let us in"},
	{"40", "transactions were in each other's way"},
	{"53", "the database is short of something"},
	{"57", "the database is shutting down or starting"},
	{"58", "the database's system failed"},
}

// errUnreadable is what the database gave and this program cannot read.
var errUnreadable = errors.New("what is stored cannot be read")

// publicPostgres turns an error of the engine into one of the contracts. It
// keeps the code alone: the server's messages may quote values, and those of a
// connection name hosts.
func publicPostgres(err error) error {
	if err == nil || ours(err) {
		return err
	}
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		return fmt.Errorf("%w: no answer from the database", session.ErrUnavailable)
	}
	for _, p := range passing {
		if len(told.Code) == 5 && told.Code[:len(p.code)] == p.code {
			return fmt.Errorf("%w: %s (SQLSTATE %s)", session.ErrUnavailable, p.text, told.Code)
		}
	}
	if told.Code[:2] == "22" || told.Code[:2] == "23" {
		return fmt.Errorf("store refused the row: SQLSTATE %s", told.Code) // trying again would not help
	}
	return fmt.Errorf("the database refused a statement of ours: SQLSTATE %s", told.Code)
}

// ours is whether an error is already in the words of the contracts.
func ours(err error) bool {
	for _, known := range []error{
		session.ErrNotFound, session.ErrUnavailable, session.ErrBusy, session.ErrInvalid, directory.ErrExists, directory.ErrInvalid,
		session.ErrTurnedBack, errMisuse, errUnreadable, ErrSchema,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// again is whether a transaction that failed so surely left nothing and may
// succeed if it is tried once more at once. committing is whether its COMMIT was
// on the way: then only an error that the server told, and that did not cost the
// connection, says that nothing was committed. (0A000 is a prepared statement that
// a migration made stale; it is prepared anew.)
func again(err error, committing bool) bool {
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		return !committing && !ours(err)
	}
	if committing && told.SeverityUnlocalized != "ERROR" {
		return false
	}
	return slices.Contains([]string{"0A000", "40001", "40P01", "55P03", "57P01", "57P02", "57P05", "25P03", "08006", "08003", "08000"}, told.Code)
}

// foreignKey is what a statement failed with because it refers to a row that is
// not there.
func foreignKey(err error) bool { return sqlState(err) == "23503" }

// uniqueKey is what a statement failed with because its key is taken.
func uniqueKey(err error) bool { return sqlState(err) == "23505" }
