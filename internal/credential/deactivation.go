package credential

import (
	"cmp"
	"time"
)

// Deactivation is mod-login's rule: a user who failed so often in a row is set
// inactive, and stays so until an administrator says otherwise. Anybody can
// lock anybody out with it, which is why it is off unless asked for.
//
// The failures are counted in the store, so that all nodes count together and a
// restart forgets nothing. mod-login compares the minutes of the clock face, so that failures an hour
// and a few minutes apart count as a few minutes apart; this counts the time.
type Deactivation struct {
	// After is the number of failures (login.fail.attempts, 5 in FOLIO);
	// 0 is off.
	After int
	// Window is the longest time between one failure and the next
	// (login.fail.timeout); 0 is 10 minutes.
	Window time.Duration
}

// Span is the longest time between one failure and the next of a row. It
// counts also where the rule is off, for those who look at the number.
func (d Deactivation) Span() time.Duration { return cmp.Or(d.Window, 10*time.Minute) }

// Due is whether so many failures in a row are too many.
func (d Deactivation) Due(inARow int) bool { return d.After > 0 && inARow >= d.After }
