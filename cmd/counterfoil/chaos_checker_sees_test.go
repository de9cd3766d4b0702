package main

import (
	"strings"
	"testing"
	"time"
)

// scriptLine is one request of a history that a test made up: when, in
// milliseconds, at which node, what, and what came of it.
type scriptLine struct {
	start, end int
	node       string
	act        act
	gen        uint64
	status     int
	got        uint64
	change     func(*asked)
}

func historyOf(lines []scriptLine, faults ...fault) *history {
	h := newHistory()
	h.faults = faults
	for _, l := range lines {
		a := asked{
			start: time.Duration(l.start) * time.Millisecond, end: time.Duration(l.end) * time.Millisecond,
			client: "script", node: l.node, act: l.act, session: "s", gen: l.gen, status: l.status, got: l.got, mark: uint32(l.got),
		}
		if a.act == calls {
			a.expires = time.Hour
		}
		if l.change != nil {
			l.change(&a)
		}
		h.add(a)
	}
	return h
}

func milliseconds(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// A checker that sees nothing finds nothing.
func TestTheCheckerSees(t *testing.T) {
	thief := func(a *asked) { a.thief = true }
	superseded := func(a *asked) { a.superseded = true }
	other := func(a *asked) { a.mark++ }
	stale := func(a *asked) { a.expires = a.end + early }
	end := scriptLine{1000, 1010, "a", logsOut, 1, 204, 0, nil}
	for _, c := range []struct {
		name   string
		want   string // a part of what it says, empty for no violation
		lines  []scriptLine
		faults []fault
	}{
		{"a rotation, its retry and the next", "", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{500, 510, "b", refreshes, 1, 201, 2, nil},
			{9000, 9010, "c", refreshes, 2, 201, 3, nil},
		}, nil},
		{"a refusal without a reason", "was logged out", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "a", refreshes, 2, 422, 0, nil},
		}, nil},
		{"a refusal before the logout was sent", "was logged out", []scriptLine{{500, 600, "a", refreshes, 1, 422, 0, nil}, end}, nil},
		{"a refusal while the logout is under way", "", []scriptLine{{995, 1005, "a", refreshes, 1, 422, 0, nil}, end}, nil},
		{"a refusal after a thief", "", []scriptLine{
			{0, 10, "a", refreshes, 1, 422, 0, thief},
			{20, 30, "a", refreshes, 2, 422, 0, nil},
		}, nil},
		{"a token that is superseded and healed", "", []scriptLine{
			{0, 10, "a", refreshes, 1, 422, 0, superseded},
			{20, 30, "a", refreshes, 2, 201, 2, nil},
		}, nil},
		{"a logout after a refusal that a killed node did not tell", "", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{50, 3100, "b", refreshes, 1, 0, 0, nil},
			{9000, 9010, "c", refreshes, 2, 422, 0, nil},
		}, []fault{{milliseconds(3090), milliseconds(3200), "b", dead}}},
		{"the same, where the rotation was answered long after it was made", "", []scriptLine{
			{0, 3000, "b", refreshes, 1, 201, 2, nil},
			{50, 3100, "b", refreshes, 1, 0, 0, nil},
			{9000, 9010, "c", refreshes, 2, 422, 0, nil},
		}, []fault{{milliseconds(3090), milliseconds(3200), "b", dead}}},
		{"a logout after an answer within the window that was lost", "was logged out", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{50, 2900, "b", refreshes, 1, 0, 0, nil},
			{9000, 9010, "c", refreshes, 2, 422, 0, nil},
		}, []fault{{milliseconds(2890), milliseconds(3200), "b", dead}}},
		{"a fresh access token refused", "fresh access token", []scriptLine{{0, 10, "a", calls, 1, 401, 0, nil}}, nil},
		{"an old access token refused", "", []scriptLine{{0, 10, "a", calls, 1, 401, 0, stale}}, nil},
		{"a fault of the program", "no client expects", []scriptLine{{0, 10, "a", calls, 1, 500, 0, nil}}, nil},
		{"a call that was given up", "no client expects", []scriptLine{{0, 10, "a", calls, 1, 504, 0, nil}}, nil},
		{
			"a call that a node gave up that was stopped meanwhile", "",
			[]scriptLine{{0, 9000, "a", calls, 1, 504, 0, nil}},
			[]fault{{milliseconds(5), milliseconds(8900), "a", stopped}},
		},
		{"a client that is never answered", "for too long", []scriptLine{{0, 10, "a", refreshes, 1, 503, 0, func(a *asked) { a.last = true }}}, nil},

		{"two successors", "two different successors", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{5, 15, "b", refreshes, 1, 201, 2, other},
		}, nil},
		{"a successor that skips one", "a successor that is none", []scriptLine{{0, 10, "a", refreshes, 1, 201, 3, nil}}, nil},
		{"a token of two generations ago", "two generations after", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "b", refreshes, 2, 201, 3, nil},
			{40, 50, "c", refreshes, 1, 201, 2, thief},
		}, nil},
		{"a replaced token taken for the newest", "as the newest", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "b", refreshes, 1, 201, 1, nil},
		}, nil},
		{"the same, before the rotation was known", "", []scriptLine{
			{0, 40, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "b", refreshes, 1, 201, 1, nil},
		}, nil},
		{"a retry beyond grace of what was used", "beyond grace", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "b", calls, 2, 200, 0, nil},
			{3011, 3020, "c", refreshes, 1, 201, 2, thief},
		}, nil},
		{"the same, seen by a node alone that was killed", "", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "b", calls, 2, 200, 0, nil},
			{3011, 3020, "c", refreshes, 1, 201, 2, thief},
		}, []fault{{milliseconds(100), milliseconds(200), "b", dead}}},
		{"the same, seen by a node that was cut off and taken for dead", "", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "b", calls, 2, 200, 0, nil},
			{3011, 3020, "c", refreshes, 1, 201, 2, thief},
		}, []fault{{milliseconds(25), milliseconds(3100), "b", cutOff}}},
		{"the same, seen by a node that was cut off for a moment", "beyond grace", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{20, 30, "b", calls, 2, 200, 0, nil},
			{3011, 3020, "c", refreshes, 1, 201, 2, thief},
		}, []fault{{milliseconds(25), milliseconds(900), "b", cutOff}}},
		{"late recovery of what was never used", "", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{4000, 4010, "b", refreshes, 1, 201, 2, nil},
			{6000, 6010, "b", refreshes, 1, 201, 2, nil}, // within grace again
		}, nil},
		{"late recovery beyond its budget", "budget", []scriptLine{
			{0, 10, "a", refreshes, 1, 201, 2, nil},
			{4000, 4010, "b", refreshes, 1, 201, 2, nil},
			{8000, 8010, "b", refreshes, 1, 201, 2, nil},
		}, nil},

		{"a refresh after a logout", "a refresh token was served", []scriptLine{end, {1011, 1020, "b", refreshes, 1, 201, 1, nil}}, nil},
		{"a refresh during a logout", "", []scriptLine{end, {1009, 1020, "b", refreshes, 1, 201, 1, nil}}, nil},
		{"a refresh after an end nobody acknowledged", "", []scriptLine{
			{1000, 1010, "a", logsOut, 1, 0, 0, nil},
			{1011, 1020, "b", refreshes, 1, 201, 1, nil},
		}, nil},
		{"a refresh after a revocation, on a node that was cut off", "a refresh token was served", []scriptLine{
			{1000, 1010, "a", revokes, 0, 200, 0, nil},
			{1011, 1020, "b", refreshes, 1, 201, 1, nil},
		}, []fault{{0, 0, "b", cutOff}}},
		{"a call after a logout within the lag", "", []scriptLine{end, {2000, 2005, "b", calls, 1, 200, 0, nil}}, nil},
		{"a call after the lag", "an access token was served 1.09s", []scriptLine{end, {2100, 2105, "b", calls, 1, 200, 0, nil}}, nil},
		{"a call after the lag, on a node that was cut off", "", []scriptLine{end, {2100, 2105, "b", calls, 1, 200, 0, nil}}, []fault{{milliseconds(500), milliseconds(3000), "b", cutOff}}},
		{"the same on another node", "an access token was served", []scriptLine{end, {2100, 2105, "b", calls, 1, 200, 0, nil}}, []fault{{milliseconds(500), milliseconds(3000), "c", cutOff}}},
		{"a call that memory is not trusted for", "an access token was served", []scriptLine{end, {3100, 3105, "b", calls, 1, 200, 0, nil}}, []fault{{milliseconds(500), 0, "b", stopped}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := limits{grace: 3 * time.Second, budget: 1, trust: 2 * time.Second, lag: time.Second, flush: time.Second}
			h := historyOf(c.lines, c.faults...)
			found := h.check(l).violations
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("it blames %s", found[0].what)
			case c.want != "" && (len(found) == 0 || !strings.Contains(found[0].what, c.want)):
				t.Errorf("it says %v", found)
			}
		})
	}
}

// Who might have missed a refusal is counted only if the session then ended.
func TestTheCheckerCountsWhomItExcuses(t *testing.T) {
	lines := []scriptLine{
		{0, 10, "a", refreshes, 1, 201, 2, nil},
		{50, 3100, "b", refreshes, 1, 0, 0, nil},
		{4000, 4010, "c", refreshes, 2, 201, 3, nil},
		{9000, 9010, "c", refreshes, 3, 422, 0, nil},
	}
	l := limits{grace: 3 * time.Second, budget: 1, trust: 2 * time.Second, lag: time.Second, flush: time.Second}
	killed := fault{milliseconds(3090), milliseconds(3200), "b", dead}
	for n, list := range map[int][]scriptLine{0: lines[:3], 1: lines} {
		if v := historyOf(list, killed).check(l); v.unheard != n || len(v.violations) > 0 {
			t.Errorf("of %d requests: %+v", len(list), v)
		}
	}
}

func TestTheTimelineTellsTheStory(t *testing.T) {
	h := historyOf([]scriptLine{
		{0, 10, "a", refreshes, 1, 201, 2, nil},
		{1000, 1010, "b", refreshes, 1, 422, 0, func(a *asked) { a.superseded, a.thief = true, true }},
		{2000, 2010, "b", calls, 2, 0, 0, nil},
		{90_000, 90_010, "b", calls, 2, 0, 0, nil}, // much later
	}, fault{milliseconds(500), milliseconds(1500), "b", stopped}, fault{from: milliseconds(600), what: failedOver})
	const want = `session s, seconds since the beginning:
   0.000 to    0.010  script          node a  refresh with generation 1: 201, generation 2
   0.500 to    1.500         ~~~ node b: stopped and woken
   0.600 to    0.000         ~~~ all nodes: primary killed, standby promoted
   1.000 to    1.010  script          node b  thief's refresh with generation 1: 422 superseded
   2.000 to    2.010  script          node b  call with generation 2: no answer
`
	if got := h.timeline("s", milliseconds(2010)); got != want {
		t.Errorf("it is\n%s", got)
	}
}
