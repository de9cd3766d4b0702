package session

import (
	"context"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	// maxSeen bounds the sessions noticed between two flushes.
	maxSeen = 200_000
	// noteEvery is how often the use of one access token is noted, beside the
	// first time, on which the refresh rule rests. The rest is for people: when a
	// session was last active. Each note is a write.
	noteEvery = 5 * time.Minute
	// flushAgain is when a flush that failed is tried again: a node that has its
	// database back only for a moment should use it.
	flushAgain = 300 * time.Millisecond
)

// seen gathers, off the request path, which generation's tokens came back to
// us: proof that the answer which carried them arrived. Late recovery rests on
// its absence.
type seen struct {
	mu      sync.Mutex
	pending map[token.SessionID]Seen
	// flushing is on its way to the store and not yet there.
	flushing map[token.SessionID]Seen
	// flushedAt is until when everything noticed here has been stored.
	flushedAt time.Time
	// lostAt is when notices were last dropped for want of room: sessions that
	// rotated before it are not known completely.
	lostAt time.Time
	now    chan struct{}
}

func (n *seen) init() {
	n.pending = make(map[token.SessionID]Seen)
	n.now = make(chan struct{}, 1)
}

// note records a use of generation gen.
func (n *seen) note(id token.SessionID, gen uint64, at time.Time, retries uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, known := n.pending[id]
	if !known && len(n.pending) >= maxSeen {
		n.lostAt = at
		n.flush()
		return
	}
	if at.Before(old.At) {
		at = old.At
	}
	n.pending[id] = Seen{Session: id, Gen: max(old.Gen, gen), At: at, Retries: old.Retries + retries}
}

// flush has what was noticed stored now.
func (n *seen) flush() {
	select {
	case n.now <- struct{}{}:
	default:
	}
}

// known returns the newest generation noticed here but perhaps not stored, and
// until when all notices about a session that rotated then are stored.
func (n *seen) known(id token.SessionID, rotatedAt time.Time) (gen uint64, flushedAt time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if rotatedAt.After(n.lostAt) {
		flushedAt = n.flushedAt
	}
	return max(n.pending[id].Gen, n.flushing[id].Gen), flushedAt
}

func (s *Service) flushLoop(ctx context.Context) {
	every := s.FlushEvery
	if every == 0 {
		every = defaultFlushEvery
	}
	tick := time.NewTimer(every)
	defer tick.Stop()
	for failing := false; ; {
		next, err := every, s.flushSeen(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			next = min(every, flushAgain)
			if !failing {
				s.Log.WarnContext(ctx, "seen generations cannot be stored, late recovery waits until they can", "error", err)
			}
		case err == nil && failing:
			s.Log.InfoContext(ctx, "seen generations are stored again")
		}
		failing = err != nil
		tick.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.seen.now:
		}
	}
}

// flushSeen stores what was noticed. An empty flush counts: it says that this
// node has nothing to tell. A failed one is kept for the next.
func (s *Service) flushSeen(ctx context.Context) error {
	started := s.Now()
	s.seen.mu.Lock()
	list := make([]Seen, 0, len(s.seen.pending))
	for _, one := range s.seen.pending {
		list = append(list, one)
	}
	s.seen.flushing = s.seen.pending
	s.seen.pending = make(map[token.SessionID]Seen)
	s.seen.mu.Unlock()
	var err error
	if len(list) > 0 {
		err = s.Store.MergeSeen(ctx, list)
	}
	s.Observe.FeedFlushed(started, len(list), err)
	if err != nil {
		for _, one := range list {
			s.seen.note(one.Session, one.Gen, one.At, one.Retries)
		}
		return err
	}
	if !s.seen.stored(started) {
		return nil
	}
	return s.Cluster.Flushed(ctx, started)
}

// stored notes that everything from before a time is stored. It returns false
// where that is not so for all sessions: then the other nodes must not take it
// for complete.
func (n *seen) stored(started time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flushing = nil
	if started.After(n.flushedAt) {
		n.flushedAt = started
	}
	return n.lostAt.IsZero() || started.Sub(n.lostAt) > lateWindow
}
