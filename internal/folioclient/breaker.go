package folioclient

import (
	"sync"
	"time"
)

const (
	// breakAfter is how many failures in a row stop the asking.
	breakAfter = 5
	// breakFor is for how long, until one question is tried again.
	breakFor = 5 * time.Second
)

// breaker keeps questions from a module that does not answer them: whoever
// asks is told so at once instead of waiting for another time-out, and a
// module that just came back is not met by everybody who waited.
type breaker struct {
	mu       sync.Mutex
	failures int
	until    time.Time
	trying   bool
}

// allow is whether to ask now. Whoever was allowed calls done.
func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakAfter {
		return true
	}
	if b.trying || now.Before(b.until) {
		return false
	}
	b.trying = true
	return true
}

// done takes the result and tells whether it opened or closed the breaker.
func (b *breaker) done(now time.Time, ok bool) (opened, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	if ok {
		closed = b.failures >= breakAfter
		b.failures = 0
		return false, closed
	}
	b.failures++
	if b.failures >= breakAfter {
		b.until = now.Add(breakFor)
	}
	return b.failures == breakAfter, false
}
