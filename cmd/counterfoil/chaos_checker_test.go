package main

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// limits are what a history is held against.
type limits struct {
	grace  time.Duration // W
	budget int           // B
	// trust is how long a node that cannot hear may serve from memory, lag how
	// long after the acknowledgement of an end one that can.
	trust, lag time.Duration
	// flush is how long what a node noticed may be in its memory alone.
	flush time.Duration
}

// violation is a promise that was not kept.
type violation struct {
	at      time.Duration
	session string
	what    string
}

// verdict is what a history shows.
type verdict struct {
	violations []violation // the first one first
	recoveries int         // late ones
	unheard    int         // sessions that ended, by a refusal that was lost perhaps
}

// check holds a history against the promises: no client that follows the
// protocol is logged out, no token is accepted twice beyond the rule, and
// nothing that was acknowledged as ended is served again.
//
// What it knows are the times at which a request was sent and its answer came.
// Where the order of two things that happened between cannot be told from them,
// it takes the one that is allowed.
func (h *history) check(l limits) verdict {
	v := verdict{}
	for session, list := range h.bySession() {
		s := sessionCheck{h: h, limits: l, session: session, list: list, v: &v, windows: map[uint64]time.Duration{}}
		s.logouts()
		s.twice()
		s.undone()
	}
	slices.SortStableFunc(v.violations, func(a, b violation) int { return cmp.Compare(a.at, b.at) })
	return v
}

// never is later than anything.
const never = time.Duration(1<<63 - 1)

type sessionCheck struct {
	h *history
	limits
	session string
	list    []asked // by start
	// windows is until when a generation's predecessor may have been a retry.
	windows map[uint64]time.Duration
	v       *verdict
}

func (s *sessionCheck) blame(a *asked, format string, args ...any) {
	s.v.violations = append(s.v.violations, violation{a.end, s.session, fmt.Sprintf(format, args...) + ": " + a.String()})
}

// answers are those that a client must expect.
var answers = map[act][]int{
	refreshes: {0, 201, 422, 503}, calls: {0, 200, 401, 503}, logsOut: {0, 204, 503}, revokes: {0, 200, 401, 503}, logsIn: {0, 201, 503},
}

// early is how much sooner than by our clock a token may be expired by that of a
// node, which measures the database's.
const early = time.Second

// logouts finds refusals that nobody gave reason for. An end that was asked for
// is a reason from when it was sent, acknowledged or not, and so is a thief.
func (s *sessionCheck) logouts() {
	reason := never
	for i := range s.list {
		if a := &s.list[i]; a.thief || a.act == logsOut || a.act == revokes {
			reason = min(reason, a.start)
		}
	}
	unheard, excused := s.unheard(), false
	for i := range s.list {
		a := &s.list[i]
		over := a.act == refreshes && a.status == 422 && !a.superseded || a.act == calls && a.status == 401 && a.expires > a.end+early
		switch {
		case a.act == calls && a.status == 504 && s.broken(a.node, a.start, a.end, stopped):
			// It was stopped while it asked the module, and found its time over.
		case !slices.Contains(answers[a.act], a.status):
			s.blame(a, "an answer that no client expects")
		case a.last:
			s.blame(a, "no answer for too long")
		case a.thief || a.end >= reason || !over:
		case a.end >= unheard:
			excused = true
		case a.act == refreshes:
			s.blame(a, "a client that follows the protocol was logged out")
		default:
			s.blame(a, "a fresh access token of a client that follows the protocol was refused")
		}
	}
	if excused {
		s.v.unheard++
	}
}

// unheard is when a client may first have been told that its token is superseded,
// by a node that died before the answer was out, or before it could take back what
// it had answered with a 503. Nothing is promised to who does not hear that: the
// strike stays open.
func (s *sessionCheck) unheard() time.Duration {
	first := never
	for i := range s.list {
		a := &s.list[i]
		until := a.end
		if a.status == http.StatusServiceUnavailable {
			until += s.flush
		}
		if a.act == refreshes && (a.status == 0 || a.status == http.StatusServiceUnavailable) &&
			s.soonest(a.gen) < a.end && s.broken(a.node, a.start, until, dead) {
			first = min(first, a.start)
		}
	}
	return first
}

// refusalLost is whether that may have happened to a session.
func (h *history) refusalLost(l limits, session string, list []asked) bool {
	s := sessionCheck{h: h, limits: l, session: session, list: list, windows: map[uint64]time.Duration{}}
	return s.unheard() < never
}

// twice finds generations with two successors, and replaced tokens that were
// accepted although neither the retry window nor late recovery allow it.
func (s *sessionCheck) twice() {
	marks := map[uint64]uint32{}
	recovered := 0
	for i := range s.list {
		a := &s.list[i]
		if !a.granted() {
			continue
		}
		known := s.newest(a.start)
		if a.got > 0 && marks[a.got] == 0 {
			marks[a.got] = a.mark
		}
		switch {
		case a.got > 0 && a.got != a.gen && a.got != a.gen+1:
			s.blame(a, "a successor that is none")
		case a.got > 0 && marks[a.got] != a.mark:
			s.blame(a, "two different successors of one generation")
		case known > a.gen+1:
			s.blame(a, "a token was accepted two generations after its own")
		case known > a.gen && a.got != a.gen+1:
			s.blame(a, "a token that was replaced was accepted as the newest")
		case known > a.gen && a.start > s.window(a.got):
			if recovered++; recovered > s.budget {
				s.blame(a, "more late recoveries than the budget allows")
			}
			if u := s.used(a.got, a.start); u != nil {
				s.blame(a, "a replaced token was accepted beyond grace although its successor was used before (%.3f s, node %s)", u.end.Seconds(), u.node)
			}
			s.windows[a.got] = a.end + s.grace
			s.v.recoveries++
		}
	}
}

// newest is the newest generation that anybody had been given before a time.
func (s *sessionCheck) newest(before time.Duration) (gen uint64) {
	for i := range s.list {
		if a := &s.list[i]; a.granted() && a.end < before {
			gen = max(gen, a.got)
		}
	}
	return gen
}

// window is when the retry window of a generation was over at the latest, which
// began before anybody was given it.
func (s *sessionCheck) window(gen uint64) time.Duration {
	if end, known := s.windows[gen]; known {
		return end
	}
	first := never - s.grace
	for i := range s.list {
		if a := &s.list[i]; a.granted() && a.got == gen && a.gen == gen-1 {
			first = min(first, a.end)
		}
	}
	s.windows[gen] = first + s.grace
	return s.windows[gen]
}

// soonest is when the retry window after a generation may have been over: it
// begins with the rotation, whose own answer may have come much later, or never.
func (s *sessionCheck) soonest(gen uint64) time.Duration {
	first := never - s.grace
	for i := range s.list {
		a := &s.list[i]
		if a.act == refreshes && a.gen == gen && (!a.granted() || a.got == gen+1) {
			first = min(first, a.start)
		}
	}
	return first + s.grace
}

// used finds a use of a generation that was over before a time.
func (s *sessionCheck) used(gen uint64, before time.Duration) *asked {
	for i := range s.list {
		a := &s.list[i]
		ok := a.granted() || a.act == calls && a.status == 200
		if ok && a.gen >= gen && a.end < before && !s.forgotten(a) {
			return a
		}
	}
	return nil
}

// forgotten is whether a use may have been known only to a node that was killed
// before it could store it, or was cut off or stopped for so long that the others
// took it for dead.
func (s *sessionCheck) forgotten(use *asked) bool {
	until := use.end + s.flush
	return s.broken(use.node, use.start, until, dead) || slices.ContainsFunc(s.h.faults, func(f fault) bool {
		long := f.to == 0 || f.to-f.from+mended >= s.trust
		return f.node == use.node && (f.what == cutOff || f.what == stopped) && long && f.from <= until && (f.to == 0 || f.to >= use.start)
	})
}

// undone finds tokens that were served after the end of their session had been
// acknowledged: refresh tokens at once, access tokens after the lag.
func (s *sessionCheck) undone() {
	over := never
	for i := range s.list {
		if a := &s.list[i]; a.act == logsOut && a.status == 204 || a.act == revokes && a.status == 200 {
			over = min(over, a.end)
		}
	}
	for i := range s.list {
		a := &s.list[i]
		if a.start <= over {
			continue
		}
		allowed := s.lag
		if s.broken(a.node, over, a.start, "") {
			allowed = max(s.lag, s.trust)
		}
		switch {
		case a.granted():
			s.blame(a, "a refresh token was served after its session's end had been acknowledged at %.3f s", over.Seconds())
		case a.act == calls && a.status == 200 && a.start > over+allowed:
			s.blame(a, "an access token was served %s after its session's end had been acknowledged, %s are allowed", (a.start - over).Round(time.Millisecond), allowed)
		}
	}
}

// dead is the fault of a process that got SIGKILL.
const dead = "killed and started again"

// mended is what a node has to find its feet after a fault.
const mended = time.Second

// broken is whether a node was disturbed, in this way if what is set, at some
// time between two.
func (s *sessionCheck) broken(node string, from, to time.Duration, what string) bool {
	return slices.ContainsFunc(s.h.faults, func(f fault) bool {
		return (f.node == node || f.node == "") && (what == "" || f.what == what) &&
			f.from <= to && (f.to == 0 || f.to+mended >= from)
	})
}
