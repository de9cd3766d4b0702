package store

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// alone is the cluster of one node: what it has committed, everybody has heard.
type alone struct {
	started   time.Time
	flushedAt atomic.Int64
}

// Now is the clock of the store.
func (s *SQLite) Now() time.Time { return s.now() }

// HeardAt is now: there is nobody else to hear of.
func (s *SQLite) HeardAt() time.Time { return s.now() }

// Flushed keeps until when this node has stored what it noticed.
func (s *SQLite) Flushed(_ context.Context, at time.Time) error {
	for n := micro(at); ; {
		old := s.alone.flushedAt.Load()
		if old >= n || s.alone.flushedAt.CompareAndSwap(old, n) {
			return nil
		}
	}
}

// FlushedAt is until when this node has stored what it noticed.
func (s *SQLite) FlushedAt() time.Time { return fromMicro(s.alone.flushedAt.Load()) }

// Nodes lists this node.
func (s *SQLite) Nodes(context.Context) ([]session.Node, error) {
	return []session.Node{{
		ID: "sqlite", Started: s.alone.started, HeardAt: s.now(), FlushedAt: s.FlushedAt(),
		Applied: s.writer.seq.Load(), Self: true,
	}}, nil
}

// Await has nobody to wait for.
func (s *SQLite) Await(context.Context) (session.Reach, error) {
	return session.Reach{Reached: 1, Live: 1}, nil
}
