package credential

import (
	"cmp"
	"time"
)

// Deactivation is mod-login's rule: a user who failed so often in a row is set
// inactive, and stays so until an administrator says otherwise. Anybody can
// lock anybody out with it, which is why it is off unless asked for.
//
// mod-login compares the minutes of the clock face, so that failures an hour
// and a few minutes apart count as a few minutes apart; this counts the time.
type Deactivation struct {
	// After is the number of failures (login.fail.attempts, 5 in FOLIO);
	// 0 is off.
	After int
	// Window is the longest time between one failure and the next
	// (login.fail.timeout); 0 is 10 minutes.
	Window time.Duration
}

// failures are those of one user in a row, from wherever.
type failures struct {
	count int
	last  time.Time
}

// count is f after one more failure.
func (d Deactivation) count(f failures, now time.Time) failures {
	if d.over(f, now) {
		f.count = 0
	}
	return failures{count: f.count + 1, last: now}
}

func (d Deactivation) due(f failures, now time.Time) bool {
	return d.After > 0 && f.count >= d.After && !d.over(f, now)
}

// over is whether the last failure is too old to count.
func (d Deactivation) over(f failures, now time.Time) bool {
	return now.Sub(f.last) >= cmp.Or(d.Window, 10*time.Minute)
}
