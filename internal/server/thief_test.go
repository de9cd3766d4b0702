package server

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// trials is how often each story is told; more in the long run.
func trials(short, long int) int {
	if os.Getenv("COUNTERFOIL_LONG") != "" {
		return long
	}
	return short
}

const day = 24 * time.Hour

// owner works on one device: a call now and then, a refresh when the access
// token has expired. after is what the client does once it was refused.
type owner struct {
	*jar
	st *street
	// watched gets each token that was replaced, as soon as it was; nil if nobody
	// watches.
	watched chan string
	// repeats is whether the client comes back at once after superseded, as the
	// design asks of clients; otherwise it gives the session up and logs in anew.
	repeats bool
	stopped chan struct{}
}

func newOwner(st *street, j *jar, repeats bool) *owner {
	return &owner{jar: j, st: st, repeats: repeats, stopped: make(chan struct{})}
}

func (o *owner) work() {
	for {
		select {
		case <-o.stopped:
			return
		case <-time.After(o.left()):
		}
		old := o.held()
		status, superseded := o.st.ask(o.jar, 0, 0)
		if superseded && o.repeats {
			status, _ = o.st.ask(o.jar, 0, 0)
		}
		if status != 201 {
			return // logs in anew; that session is another one
		}
		o.st.use(o.jar)
		if o.watched != nil && o.held() != old {
			o.watched <- old
		}
	}
}

// A thief tries to live on a copy of the owner's jar until the session is over.
type thief func(st *street, mine *jar, id token.SessionID)

// steadily refreshes at once, and then whenever his access token has expired,
// like any client; refused, he asks again and again.
func steadily(st *street, mine *jar, id token.SessionID) {
	for goesOn(st, id) {
		if status, superseded := st.ask(mine, 0, 0); status != 201 && !superseded {
			return
		}
		st.use(mine)
		time.Sleep(max(time.Second, mine.left()))
	}
}

// patiently does the same, but uses up the copied access token first: so his
// first refresh meets the owner's.
func patiently(st *street, mine *jar, id token.SessionID) {
	time.Sleep(mine.left())
	steadily(st, mine, id)
}

// silently refreshes and calls nothing with what he gets.
func silently(st *street, mine *jar, id token.SessionID) {
	for goesOn(st, id) {
		if status, superseded := st.ask(mine, 0, 0); status != 201 && !superseded {
			return
		}
		time.Sleep(max(time.Second, mine.left()))
	}
}

// inStep refreshes at the nominal pace of the owner, from when he saw him last,
// a little after him, to meet the retry window.
func inStep(st *street, mine *jar, id token.SessionID) {
	next := time.Now().Add(mine.left())
	for goesOn(st, id) {
		time.Sleep(time.Until(next) + 5*time.Second)
		if status, superseded := st.ask(mine, 0, 0); status != 201 && !superseded {
			return
		}
		st.use(mine)
		// The middle of the lifetimes that he may expect.
		next = time.Now().Add(570 * time.Second)
	}
}

func goesOn(st *street, id token.SessionID) bool {
	over, _ := st.over(id)
	return !over
}

// theft is what came of one.
type theft struct {
	access  time.Duration // how long the thief had access
	alive   bool          // after a day
	flagged bool
}

// steal lets an owner work for a while, copies the jar, and watches.
func steal(t *testing.T, seed uint64, how thief, repeats bool, from string) (got theft) {
	onStreet(t, seed, func(st *street) {
		mine, id := st.login("10.1.2.3")
		o := newOwner(st, mine, repeats)
		worked := make(chan struct{})
		go func() { defer close(worked); o.work() }()
		time.Sleep(time.Hour + st.upTo(time.Hour))
		copied, began := mine.copied(from), time.Now()
		gone := make(chan struct{})
		go func() { defer close(gone); how(st, copied, id) }()
		for time.Since(began) < day {
			time.Sleep(5 * time.Second)
			over, flagged := st.over(id)
			if over {
				got.flagged = flagged
				break
			}
			got.access = time.Since(began)
		}
		got.alive = got.access >= day-time.Minute
		close(o.stopped)
		if got.alive {
			_, _ = st.sessions.Revoke(t.Context(), id)
		}
		<-worked
		<-gone
	})
	return got
}

// Threat: whoever copied a browser's cookies lives on them. What is measured
// here stands in docs/thieves.md.
func TestT5ThievesAreEvicted(t *testing.T) {
	n := trials(3, 100)
	for _, test := range []struct {
		name    string
		how     thief
		repeats bool
		from    string
	}{
		{"steady, elsewhere, the owner repeats", steadily, true, "198.51.100.7"},
		{"steady, elsewhere, the owner logs in anew", steadily, false, "198.51.100.7"},
		{"steady, behind the owner's NAT, the owner repeats", steadily, true, "10.1.2.3"},
		{"patient, elsewhere, the owner repeats", patiently, true, "198.51.100.7"},
		{"silent, elsewhere, the owner repeats", silently, true, "198.51.100.7"},
		{"silent, elsewhere, the owner logs in anew", silently, false, "198.51.100.7"},
		{"in step, elsewhere, the owner repeats", inStep, true, "198.51.100.7"},
		{"in step, behind the owner's NAT, the owner logs in anew", inStep, false, "10.1.2.3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var hours, longest time.Duration
			alive, flagged := 0, 0
			for seed := range n {
				got := steal(t, uint64(seed), test.how, test.repeats, test.from)
				hours += got.access
				longest = max(longest, got.access)
				if got.alive {
					alive++
				}
				if got.flagged {
					flagged++
				}
			}
			t.Logf("%d thefts: mean %s, longest %s, alive after a day %d, flagged %d", n, (hours / time.Duration(n)).Round(time.Second), longest.Round(time.Second), alive, flagged)
			if alive > 0 || flagged != n {
				t.Errorf("%d of %d thieves were still there after a day, %d were noticed", alive, n, flagged)
			}
		})
	}
}

// A thief who gets every token the moment it was replaced shares the owner's
// line inside the window, and has nothing of his own.
func TestT73AThiefInsideTheWindowHasNoLineOfHisOwn(t *testing.T) {
	onStreet(t, 1, func(st *street) {
		mine, id := st.login("10.1.2.3")
		o := newOwner(st, mine, true)
		o.watched = make(chan string, 1)
		worked := make(chan struct{})
		go func() { defer close(worked); o.work() }()
		copied := mine.copied("198.51.100.7")
		for range 12 {
			copied.refresh = <-o.watched
			if status, _ := st.ask(copied, 0, 0); status != 201 || copied.held() != mine.held() {
				t.Errorf("inside the window: %d, the owner's token %v", status, copied.held() == mine.held())
			}
		}
		<-o.watched // this time he is late
		time.Sleep(time.Minute)
		if status, superseded := st.ask(copied, 0, 0); status != 422 || !superseded {
			t.Errorf("%d, superseded %v", status, superseded)
		}
		time.Sleep(31 * time.Second)
		if over, flagged := st.over(id); !over || !flagged {
			t.Errorf("over %v, flagged %v", over, flagged)
		}
		close(o.stopped)
		<-worked
	})
}

// Old tokens of whatever age get nothing.
func TestT5OldTokensOfEveryAgeAreRefused(t *testing.T) {
	for _, age := range []int{2, 3, 5, 20} {
		t.Run(fmt.Sprintf("%d rotations ago", age), func(t *testing.T) {
			onStreet(t, uint64(age), func(st *street) {
				mine, id := st.login("10.1.2.3")
				stolen := mine.copied("198.51.100.7")
				for range age {
					time.Sleep(mine.left())
					if status, _ := st.ask(mine, 0, 0); status != 201 {
						t.Fatalf("the owner got %d", status)
					}
					st.use(mine)
				}
				if status, superseded := st.ask(stolen, 0, 0); status != 422 || !superseded {
					t.Errorf("%d, superseded %v", status, superseded)
				}
				time.Sleep(31 * time.Second)
				if over, flagged := st.over(id); !over || !flagged {
					t.Errorf("over %v, flagged %v: nobody healed the strike", over, flagged)
				}
			})
		})
	}
}
