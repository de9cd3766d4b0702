package main

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// history is all that was asked and answered, and all that was broken, with the
// times since the beginning as the clients saw them.
type history struct {
	began time.Time

	mu     sync.Mutex
	asked  []asked
	faults []fault
}

type act string

const (
	refreshes act = "refresh"
	calls     act = "call"
	logsOut   act = "logout"
	revokes   act = "revoke"
	logsIn    act = "login"
)

// asked is one request with what came of it.
type asked struct {
	start, end   time.Duration
	client, node string
	act          act
	session      string
	// gen is the generation of the token that was presented, and expires the end
	// of an access token.
	gen     uint64
	expires time.Duration
	// thief is whether an old token was presented on purpose.
	thief bool

	status     int // 0 is no answer
	superseded bool
	// got is the generation of the refresh token in the answer, 0 for none, and
	// mark tells apart what must be one token.
	got  uint64
	mark uint32
	says string // what a refusal says
	// last is whether the client gave up after this.
	last bool
}

func (a *asked) granted() bool { return a.act == refreshes && a.status == 201 }

// fault is what was broken, on one node or, with an empty name, for all.
type fault struct {
	from, to   time.Duration // to is 0 while it lasts
	node, what string
}

func newHistory() *history { return &history{began: time.Now()} }

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) add(a asked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, a)
}

// broken notes a fault until the function that it returns is called.
func (h *history) broken(node, what string) (over func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.faults)
	h.faults = append(h.faults, fault{from: h.now(), node: node, what: what})
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.faults[n].to = h.now()
	}
}

// watch notes when this machine itself was stopped: whoever measures time on it
// must know.
func (h *history) watch(stop <-chan struct{}) {
	const every, late = 20 * time.Millisecond, 200 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := h.now(); ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := h.now()
		if now-last > late {
			h.stalled(last, now)
		}
		last = now
	}
}

// stalled notes that nothing ran here for a while; what follows closely is one.
func (h *history) stalled(from, to time.Duration) {
	const what = "this machine is too busy to run the test"
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.faults {
		if f := &h.faults[i]; f.what == what && from < f.to+2*time.Second {
			f.to = to
			return
		}
	}
	h.faults = append(h.faults, fault{from: from, to: to, what: what})
}

// named reads session and generation of a refresh token. They stand in it for
// all to see; only the tags are secret.
func named(refresh string) (session string, gen uint64, mark uint32) {
	text, _ := strings.CutPrefix(refresh, "cfrt_")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 26 {
		return "", 0, 0
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, refresh)
	return token.SessionID(raw[2:18]).String(), binary.BigEndian.Uint64(raw[18:26]), h.Sum32()
}

// claimed reads an access token without asking who signed it.
func claimed(access string) (session string, gen uint64, expires time.Time) {
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		return "", 0, time.Time{}
	}
	var claims struct {
		Session string `json:"sid"`
		Gen     uint64 `json:"gen"`
		Expires int64  `json:"exp"`
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(raw, &claims)
	return claims.Session, claims.Gen, time.Unix(claims.Expires, 0)
}

// bySession sorts what was asked by session and start.
func (h *history) bySession() map[string][]asked {
	all := make(map[string][]asked)
	for _, a := range h.asked {
		if a.session != "" {
			all[a.session] = append(all[a.session], a)
		}
	}
	for _, list := range all {
		slices.SortStableFunc(list, func(a, b asked) int { return cmp.Compare(a.start, b.start) })
	}
	return all
}

func (a *asked) String() string {
	what := string(a.act)
	if a.thief {
		what = "thief's " + what
	}
	if a.gen > 0 {
		what += fmt.Sprintf(" with generation %d", a.gen)
	}
	came := "no answer"
	switch {
	case a.superseded:
		came = fmt.Sprintf("%d superseded", a.status)
	case a.got > 0:
		came = fmt.Sprintf("%d, generation %d", a.status, a.got)
	case a.status > 0:
		came = fmt.Sprint(a.status, a.says)
	}
	if a.expires > 0 && a.status == 401 {
		came += fmt.Sprintf(" (expires at %.0f)", a.expires.Seconds())
	}
	return fmt.Sprintf("%-15s node %s  %s: %s", a.client, a.node, what, came)
}

// timeline is the story of one session around a moment, with what was broken.
func (h *history) timeline(session string, at time.Duration) string {
	const before, after = 40 * time.Second, 5 * time.Second
	type line struct {
		from, to time.Duration
		text     string
	}
	var lines []line
	for _, a := range h.bySession()[session] {
		lines = append(lines, line{a.start, a.end, a.String()})
	}
	for _, f := range h.faults {
		node := "all nodes"
		if f.node != "" {
			node = "node " + f.node
		}
		lines = append(lines, line{f.from, f.to, "       ~~~ " + node + ": " + f.what})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	fmt.Fprintf(&b, "session %s, seconds since the beginning:\n", session)
	for _, l := range lines {
		if l.from > at+after || max(l.from, l.to) < at-before {
			continue
		}
		fmt.Fprintf(&b, "%8.3f to %8.3f  %s\n", l.from.Seconds(), l.to.Seconds(), l.text)
	}
	return b.String()
}
