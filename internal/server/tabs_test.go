package server

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// tabs is a browser with tabs that know nothing of each other: no lock, no news,
// each refreshes when the access token has expired. It never sleeps.
type tabs struct {
	st      *street
	mu      sync.Mutex
	jar     *jar
	id      token.SessionID
	logouts atomic.Int64
	// stalls says how long one request, and its answer, are under way.
	stalls func() (before, after time.Duration)
}

func (b *tabs) current() *jar {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.jar
}

// again logs in, once for all tabs.
func (b *tabs) again(lost *jar) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.jar != lost {
		return
	}
	if _, flagged := b.st.over(b.id); flagged { // and not by its absolute lifetime
		b.logouts.Add(1)
	}
	b.jar, b.id = b.st.login("10.1.2.3")
}

func (b *tabs) tab(end time.Time) {
	for time.Now().Before(end) {
		j := b.current()
		time.Sleep(max(0, j.left()))
		status, superseded := b.ask(j)
		if superseded {
			status, _ = b.ask(j)
		}
		switch {
		case status == 201:
			b.st.use(j)
		case status == 422 && b.over(j):
			b.again(j)
		}
	}
}

func (b *tabs) ask(j *jar) (status int, superseded bool) {
	b.mu.Lock()
	before, after := b.stalls()
	b.mu.Unlock()
	return b.st.ask(j, before, after)
}

// over is whether the browser was told to forget its tokens.
func (b *tabs) over(j *jar) bool {
	j.Lock()
	defer j.Unlock()
	return j.cleared
}

// Honest tabs, without any lock, around the clock: what the rule costs those who
// did nothing wrong. The long run's figures stand in docs/thieves.md.
func TestHonestTabsAreHardlyEverLoggedOut(t *testing.T) {
	days := trials(3, 100)
	for _, test := range []struct {
		name string
		// stalled is the share of requests that are under way for 5 to 40 s, and
		// answers whether their answers may be, too.
		stalled float64
		answers bool
		most    int64 // forced logouts in the short run
	}{
		{"a quick network", 0, false, 0},
		{"1 % of requests stall for 5 to 40 s", 0.01, false, 1},
		{"1 % of requests and of answers do", 0.01, true, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			onStreet(t, 42, func(st *street) {
				b := &tabs{st: st}
				b.jar, b.id = st.login("10.1.2.3")
				one := func(may bool) time.Duration {
					if may && st.dice.Float64() < test.stalled {
						return 5*time.Second + st.upTo(35*time.Second)
					}
					return 20*time.Millisecond + st.upTo(200*time.Millisecond)
				}
				b.stalls = func() (before, after time.Duration) { return one(true), one(test.answers) }
				end := time.Now().Add(time.Duration(days) * day)
				var open sync.WaitGroup
				for range 3 {
					open.Go(func() { b.tab(end) })
				}
				open.Wait()
				t.Logf("%d user-days with three tabs: %d forced logouts", days, b.logouts.Load())
				if days < 10 && b.logouts.Load() > test.most {
					t.Errorf("%d forced logouts in %d days", b.logouts.Load(), days)
				}
			})
		})
	}
}
