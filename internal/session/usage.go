package session

import (
	"context"
	"time"
)

// Usage is what happened in a while, on all nodes: what operators watch. It
// names nobody.
type Usage struct {
	// Begins is when the while began.
	Begins time.Time
	// Live is how many sessions had not ended, as last counted. It includes those
	// that have idled too long under some policy.
	Live int64
	// Refreshes are rotations and answers within the floor. Reuse are sessions that
	// ended because a used token came back.
	Refreshes, Retries, LateRecoveries, Superseded, Reuse int64
	Logins, LoginsFailed, Ended                           int64
	// Behind is how far a node was behind the feed of revocations, at most.
	Behind time.Duration
}

// UsageSeries is a ring of whiles.
type UsageSeries struct {
	Name  string
	Width time.Duration
	Slots int64
}

// The series that are kept: an hour by minutes, and thirty days by six hours.
var (
	LastHour  = UsageSeries{"hour", time.Minute, 60}
	LastMonth = UsageSeries{"month", 6 * time.Hour, 120}
)

// Slot is where the while of a time is kept, and when it began.
func (s UsageSeries) Slot(at time.Time) (slot int64, begins time.Time) {
	n := at.UnixMicro() / s.Width.Microseconds()
	return n % s.Slots, time.UnixMicro(n * s.Width.Microseconds()).UTC()
}

// Whole lists every while of the series until now, oldest first, with zeros for
// those in which nobody ran.
func (s UsageSeries) Whole(kept []Usage, now time.Time) []Usage {
	_, last := s.Slot(now)
	all := make([]Usage, s.Slots)
	for i := range all {
		all[i].Begins = last.Add(-time.Duration(s.Slots-1-int64(i)) * s.Width)
	}
	for _, u := range kept {
		if i := s.Slots - 1 - int64(last.Sub(u.Begins)/s.Width); i >= 0 && i < s.Slots {
			all[i] = u
		}
	}
	return all
}

// UsageStore keeps usage in constant space.
type UsageStore interface {
	// AddUsage adds what a node counted to the while of each series that at is in.
	// Live replaces, Behind is merged by max.
	AddUsage(ctx context.Context, at time.Time, u Usage) error
	// Usage reads a series, in any order. Whiles older than the series may be
	// among it.
	Usage(ctx context.Context, series UsageSeries) ([]Usage, error)
	// CountLive counts the sessions that have not ended.
	CountLive(ctx context.Context) (int64, error)
}
