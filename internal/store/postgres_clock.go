package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// databaseClock tells the database's time from the node's and what lies between
// them. Every heartbeat measures that; the measurement with the shortest round
// trip among the last few is the best, since the database read its clock
// somewhere within it.
type databaseClock struct {
	node func() time.Time
	turn func(time.Time) time.Time

	mu      sync.Mutex
	samples []sample

	offset atomic.Int64 // what to add to the node's clock
	last   atomic.Int64 // what Now returned last, in nanoseconds
}

type sample struct{ offset, trip time.Duration }

const (
	samplesKept = 10
	// stepped is how far a measurement may lie from the chosen one, beyond what
	// their round trips explain, before a clock must have been set.
	stepped = 20 * time.Millisecond
)

func (c *databaseClock) init(node func() time.Time, turn func(time.Time) time.Time) {
	c.node, c.turn = node, turn
}

// measure takes in what the database's clock was at some time between two
// readings of the node's.
func (c *databaseClock) measure(before, after, database time.Time) {
	trip := max(0, after.Sub(before))
	fresh := sample{offset: database.Sub(before.Add(trip / 2)), trip: trip}
	c.mu.Lock()
	defer c.mu.Unlock()
	best := fresh
	for _, s := range c.samples {
		if s.trip < best.trip {
			best = s
		}
	}
	if (best.offset - fresh.offset).Abs() > best.trip/2+fresh.trip/2+stepped {
		c.samples, best = nil, fresh
		c.last.Store(0) // the time goes back, if that is what happened
	}
	c.samples = append(c.samples, fresh)
	if len(c.samples) > samplesKept {
		c.samples = c.samples[1:]
	}
	c.offset.Store(int64(best.offset))
}

// Now is estimate, as the store keeps it.
func (c *databaseClock) Now() time.Time { return c.turned(c.estimate()) }

// estimate never goes back, but for a clock that was set.
func (c *databaseClock) estimate() time.Time {
	now := c.node().UnixNano() + c.offset.Load()
	for {
		last := c.last.Load()
		if last >= now {
			now = last
			break
		}
		if c.last.CompareAndSwap(last, now) {
			break
		}
	}
	return time.Unix(0, now)
}

// turned is a time of the database as the store keeps it.
func (c *databaseClock) turned(t time.Time) time.Time {
	if c.turn != nil {
		t = c.turn(t)
	}
	return t.UTC().Truncate(time.Microsecond)
}
