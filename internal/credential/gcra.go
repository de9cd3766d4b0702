package credential

import (
	"math"
	"time"
)

// Limit lets Burst events through at once and, in the long run, Burst events
// in each Period. A Burst of 0 or a Period of 0 lets nothing through.
type Limit struct {
	Burst  int
	Period time.Duration
}

// Never is the wait of what no wait makes possible.
const Never = time.Duration(math.MaxInt64)

// interval is what one event costs, in time.
func (l Limit) interval() time.Duration { return max(1, l.Period/time.Duration(l.Burst)) }

// GCRA is the generic cell rate algorithm (ITU-T I.371): the state of a limit
// is one time, tat, the theoretical arrival time of the next event of a
// perfectly even stream; the zero time is a limit that was never used. cost
// is in events, at least 0.
//
// It returns the state to keep from now on, whether the events are let through,
// and if not, after how long they will be: Never, if they are more than Burst.
func GCRA(now, tat time.Time, cost int, limit Limit) (newTAT time.Time, allowed bool, retryAfter time.Duration) {
	if limit.Burst <= 0 || limit.Period <= 0 || cost > limit.Burst {
		return tat, false, Never
	}
	interval := limit.interval()
	full := now.Add(interval * time.Duration(limit.Burst))
	// Nothing that was let through takes tat beyond full: the clock was set
	// back or the limit made smaller, and nobody shall wait for that.
	if tat.After(full) {
		tat = full
	}
	next := tat
	if next.Before(now) {
		next = now
	}
	next = next.Add(interval * time.Duration(cost))
	if next.After(full) {
		return tat, false, next.Sub(full)
	}
	return next, true, 0
}
