package session

import (
	"context"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/token"
)

// strikes holds a timer for each session with an open strike: unless somebody
// proves in time that the newest token is in honest hands, the session ends.
// A node that dies leaves the strike in the row, where row 8 of the rule and
// the next start find it.
type strikes struct {
	mu     sync.Mutex
	timers map[token.SessionID]*time.Timer
	due    func(token.SessionID)
	closed bool
	// running ends when the program does, and working is what it waits for then.
	running context.Context
	working sync.WaitGroup
}

func (t *strikes) init(running context.Context, due func(token.SessionID)) {
	t.timers = make(map[token.SessionID]*time.Timer)
	t.running, t.due = running, due
}

func (t *strikes) arm(id token.SessionID, after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, armed := t.timers[id]; armed || t.closed {
		return
	}
	t.timers[id] = time.AfterFunc(max(0, after), func() {
		t.disarm(id)
		t.due(id)
	})
}

func (t *strikes) disarm(id token.SessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timer, armed := t.timers[id]; armed {
		timer.Stop()
		delete(t.timers, id)
	}
}

// work runs something beside requests. close waits for it.
func (t *strikes) work(do func(context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.working.Go(func() { do(t.running) })
	}
}

func (t *strikes) close() {
	t.mu.Lock()
	t.closed = true
	for id, timer := range t.timers {
		timer.Stop()
		delete(t.timers, id)
	}
	t.mu.Unlock()
	t.working.Wait()
}

func (s *Service) armStrike(ctx context.Context, id token.SessionID, strikeAt time.Time) {
	row, err := s.Store.Session(ctx, id)
	if err != nil {
		return // row 8 ends it at the next presentation
	}
	heal := s.Policies.of(row).Rule().Heal
	s.strikes.arm(id, strikeAt.Add(heal).Sub(s.Now()))
}

// strikeDue is row T of the rule. A strike that was healed and opened anew
// meanwhile is not due yet, and gets its timer back.
func (s *Service) strikeDue(id token.SessionID) {
	ctx, done := context.WithTimeout(audit.WithActor(context.Background(), &audit.Actor{Kind: "system", Name: "strike timer"}), patience)
	defer done()
	var again time.Duration
	var ended bool
	err := s.Store.UpdateSession(ctx, id, func(now time.Time, row *Session) Effects {
		again, ended = 0, false
		rule := s.Policies.of(row).Rule()
		next, verdict := row.StrikesDue(rule, now)
		if !verdict.Changed {
			if row.RevokedAt.IsZero() && row.Struck() {
				again = row.StrikeAt.Add(rule.Heal).Sub(now)
			}
			return Effects{}
		}
		ended = true
		row.Family = next
		row.RevokedBy = "strike timer"
		return Effects{Save: true, Events: []audit.Event{
			event(ctx, audit.RefreshReuse, row, reuseUnhealed),
		}}
	})
	switch {
	case err != nil:
		s.Log.WarnContext(ctx, "strike not settled, the next refresh will", "session", id.String(), "error", err)
	case again > 0:
		s.strikes.arm(id, again)
	case ended:
		s.Observe.SessionsEnded(RefreshReuse, 1)
	}
}
