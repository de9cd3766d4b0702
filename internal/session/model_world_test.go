package session

import "slices"

// modelTabs is how many tabs the largest scope has.
const modelTabs = 6

// modelWorld is one instant of the model: the session's row, a browser with its
// cookie jar and tabs, a thief, and what the checker remembers. It holds only
// what can still make a difference:
//
//   - a time is its age in ticks, up to the largest that any row of the rule
//     tells apart;
//   - a generation is how far it is behind the newest: 0, 1, or 2 for all that
//     are older;
//   - a heal nonce is one of an open strike. A closed strike never opens again,
//     so its nonce is nothing.
//
// Hence the worlds are few enough to reach all of them, however long it takes:
// the search has no horizon.
type modelWorld struct {
	// The ages of WindowAt, RotatedAt, StrikeAt and LateSince.
	window, rotated, strike, late uint8
	lateN                         uint8
	open                          slots
	ended                         bool
	// used is whether the newest access token was used or its refresh token
	// presented, seen whether the row knows, flushed whether every node has
	// reported since the last rotation.
	used, seen, flushed bool

	jar   jar
	tabs  [modelTabs]modelTab
	thief thief

	// watched is one strike of the owner that the checker follows, and
	// watchedAge how long ago its refusal was.
	watched    slots
	watchedAge uint8
	// recovered are the ages, plus one, of the latest late recoveries.
	recovered [2]uint8
}

// slots is a set of strikes or of their nonces, a bit for each slot.
type slots uint8

func slotOf(strike uint32) slots { return 1 << (strike % MaxStrikes) }

// jar is the cookie jar that all tabs share. The cookie of a nonce lives as
// long from its arrival as its strike from its opening, so it never goes while
// it matters, and its expiry needs no place here.
type jar struct {
	behind uint8
	nonces slots
}

type tabState uint8

const (
	tabIdle       tabState = iota
	tabAsking              // the request is under way, or waits for the row's lock
	tabAnswered            // the verdict is committed, the answer under way
	tabSuperseded          // has read that it was superseded, asks again at once
)

// modelTab makes one request at a time, with what is in the jar when it is sent.
type modelTab struct {
	state  tabState
	age    uint8
	behind uint8
	nonces slots
	answer Outcome
}

// thief copies the jar once. He knows every token that was replaced; the
// newest where he copied it or was given it.
type thief struct {
	copied, current bool
	nonces          slots
}

// ask sends a request of tab i.
func (w *modelWorld) ask(i uint8) {
	w.tabs[i] = modelTab{state: tabAsking, behind: w.jar.behind, nonces: w.jar.nonces}
}

// rotate makes every token one generation older.
func (w *modelWorld) rotate() {
	older := func(behind *uint8) { *behind = min(*behind+1, 2) }
	older(&w.jar.behind)
	for i := range w.tabs {
		if t := &w.tabs[i]; t.state == tabAsking || t.answer >= Rotated && t.answer <= Recovered {
			older(&t.behind)
		}
	}
	w.thief.current = false
	w.used, w.seen, w.flushed = false, false, false
}

// forget takes the nonces of closed strikes out of every hand.
func (w *modelWorld) forget(closed slots) {
	w.jar.nonces &^= closed
	w.thief.nonces &^= closed
	for i := range w.tabs {
		w.tabs[i].nonces &^= closed
	}
}

// key is the world with tabs and slots in order: it makes no difference which
// tab or which slot is which.
func (w modelWorld) key() modelWorld {
	for i := 1; i < len(w.tabs); i++ {
		for j := i; j > 0 && w.tabs[j].packed() > w.tabs[j-1].packed(); j-- {
			w.tabs[j], w.tabs[j-1] = w.tabs[j-1], w.tabs[j]
		}
	}
	if w.open == 0 {
		return w
	}
	// Who holds the nonce of a slot, as a bit for each holder.
	holders := [...]*slots{
		&w.open, &w.watched, &w.jar.nonces, &w.thief.nonces,
		&w.tabs[0].nonces, &w.tabs[1].nonces, &w.tabs[2].nonces, &w.tabs[3].nonces, &w.tabs[4].nonces, &w.tabs[5].nonces,
	}
	var held [MaxStrikes]uint16
	for i, h := range holders {
		for slot := range held {
			held[slot] |= uint16(*h>>slot&1) << i
		}
		*h = 0
	}
	slices.Sort(held[:])
	for i, h := range holders {
		for slot := range held {
			*h |= slots(held[slot]>>i&1) << slot
		}
	}
	return w
}

// packed orders tabs, but for the nonces, whose slots are put in order later.
func (t modelTab) packed() uint32 {
	return uint32(t.state)<<24 | uint32(t.answer)<<16 | uint32(t.age)<<8 | uint32(t.behind)
}
