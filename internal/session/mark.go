package session

import (
	"errors"
	"fmt"
	"time"
)

// Mark is how far a database has come. It is a row of the database that every
// node moves on every few seconds, and each remembers it outside the database.
// A database that was restored from a backup, or a standby that had not heard
// of everything, comes with an older mark than somebody remembers: used refresh
// tokens would be the newest ones there, and what was revoked would live.
type Mark struct {
	// Incarnation is drawn when the database's schema is made.
	Incarnation string
	// N only grows.
	N uint64
	// At is when it was moved, on the store's clock.
	At time.Time
	// Place is where the database is, for people: PostgreSQL's system identifier
	// and timeline where it tells them.
	Place string
	// Adoption is open while sessions may catch up with a restore.
	Adoption Adoption
}

// The ways in which a database is not the one that was there before.
var (
	// ErrTurnedBack is a database that is behind what is remembered of it.
	ErrTurnedBack = errors.New("the database was turned back")
	// ErrReplaced is a database file that another one took the place of, under
	// the program that has it open. What is written goes nowhere.
	ErrReplaced = errors.New("the database file was replaced while the program ran")
)

// Known is whether it is the mark of any database.
func (m Mark) Known() bool { return m.Incarnation != "" }

// TurnedBack tells how a database went back behind what is remembered of it,
// and "" if it did not. recorded is the number that the database has recorded
// for the remembered incarnation, its own or one whose place it took, and 0 if
// it has none. Where nothing is remembered nothing can be told.
func (m Mark) TurnedBack(remembered Mark, recorded uint64) string {
	switch {
	case !remembered.Known() || recorded > 0 && recorded >= remembered.N:
		return ""
	case recorded == 0:
		return "it is another database than the one before"
	}
	return fmt.Sprintf("its mark is %d of %s, and %d was seen at %s", recorded, m.At.Format(time.RFC3339), remembered.N, remembered.At.Format(time.RFC3339))
}

// Adoption lets the sessions of a restored database go on instead of ending
// them: whoever comes with a newer refresh token than the row knows moves the
// row on, once. When it is over, the sessions that nobody moved on end.
type Adoption struct {
	// Epoch is given to sessions that begin or are moved on meanwhile. At the end
	// those of a lower one are over.
	Epoch uint64
	// Since is when the operator let it begin. Access tokens from before do not
	// hold: a revocation that the restore undid may be behind any of them.
	Since, Until time.Time
}

// Restoration is what to do about a database that was turned back.
type Restoration struct {
	// Remembered is the mark outside the database.
	Remembered Mark
	// Told is whether an operator says that there was a restore. Otherwise it is
	// looked at again, under the mark's lock: another node may have done it all.
	Told bool
	// AdoptFor lets sessions catch up for so long; 0 ends them all.
	AdoptFor time.Duration
}

// Adopting takes in what the store says about an adoption, nothing if there is
// none.
func (s *Service) Adopting(a Adoption) { s.adoption.Store(&a) }

// adoptable is the epoch that a row gets when it catches up with a restore, 0 if
// it may not: it is of after the restore, or has caught up, or the time is over.
func (s *Service) adoptable(row *Session, now time.Time) uint64 {
	a := s.adoption.Load()
	if a == nil || !now.Before(a.Until) || row.TenantEpoch >= a.Epoch {
		return 0
	}
	return a.Epoch
}

// undone is whether an access token is from before a restore after which
// sessions catch up. Its client refreshes, and so shows what it has.
func (s *Service) undone(issued time.Time) bool {
	a := s.adoption.Load()
	return a != nil && issued.Before(a.Since.Truncate(time.Second))
}
