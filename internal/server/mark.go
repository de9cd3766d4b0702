package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
)

// marker remembers outside the database how far it had come, and looks at every
// beat whether it is still there. A database that was turned back is dealt with
// before anything is served from it, or at the next beat.
type marker struct {
	server *Server
	file   string

	mu         sync.Mutex
	remembered session.Mark
	failing    bool

	stop    context.CancelFunc
	running sync.WaitGroup
	close   sync.Once
	// replaced tells Serve that the program works on a file that is gone.
	replaced chan error
}

// markEvery is how often the mark moves on: what was rotated since the last time
// is the most that a restore can take back unnoticed.
const markEvery = 2 * time.Second

// markFile is where a node remembers the mark.
func markFile(data string) string { return filepath.Join(data, "mark.json") }

// markText is the file's content.
type markText struct {
	Incarnation string    `json:"incarnation"`
	Number      uint64    `json:"number"`
	At          time.Time `json:"at"`
	Place       string    `json:"place,omitempty"`
}

func newMarker(s *Server) (*marker, error) {
	m := &marker{server: s, file: markFile(s.config.Data), replaced: make(chan error, 1)}
	text, err := os.ReadFile(m.file)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil // a first start, or one that relies on what other nodes remember
	}
	if err != nil {
		return nil, err
	}
	var t markText
	if err := json.Unmarshal(text, &t); err != nil || t.Incarnation == "" || t.Number == 0 {
		return nil, fmt.Errorf("%s cannot be read; if the database was not restored, remove it", m.file)
	}
	m.remembered = session.Mark{Incarnation: t.Incarnation, N: t.Number, At: t.At, Place: t.Place}
	return m, nil
}

// start looks at the database before anything is served, and goes on looking.
func (m *marker) start(ctx context.Context) error {
	if err := m.beat(ctx); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.running.Go(func() { m.loop(background) })
	return nil
}

func (m *marker) loop(ctx context.Context) {
	every := m.server.config.MarkEvery
	if every == 0 {
		every = markEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := m.beat(ctx)
		if errors.Is(err, session.ErrReplaced) {
			m.replaced <- err
			return
		}
		m.report(ctx, err)
	}
}

// report logs when the mark begins to stand still and when it moves again.
func (m *marker) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !m.failing:
		m.failing = true
		m.server.log.WarnContext(ctx, "the database's mark does not move on: a restore may go unnoticed", "error", err)
	case err == nil && m.failing:
		m.failing = false
		m.server.log.InfoContext(ctx, "the database's mark moves on again")
	}
}

// beat moves the mark on, or deals with a database that was turned back.
func (m *marker) beat(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	mark, err := m.server.db.Advance(ctx, m.remembered)
	if errors.Is(err, session.ErrTurnedBack) {
		mark, err = m.turnedBack(ctx, err)
	}
	if err != nil {
		return err
	}
	return m.remember(mark)
}

// turnedBack ends all sessions, whoever they belong to: which of their tokens
// were used since the backup is lost.
func (m *marker) turnedBack(ctx context.Context, why error) (session.Mark, error) {
	ctx = audit.WithActor(ctx, &audit.Actor{Kind: "system", Name: "database mark"})
	mark, did, err := m.server.db.Restored(ctx, session.Restoration{Remembered: m.remembered})
	if did && err == nil {
		m.server.metrics.turnedBack.Inc()
		m.server.log.ErrorContext(ctx, "the database was restored or lost commits: all sessions ended; what was revoked, removed or changed since the backup must be done again",
			"alarm", string(audit.StoreTurnedBack), "why", why.Error(), "was", m.remembered.Place, "is", mark.Place)
	}
	return mark, err
}

// remember takes in a mark that is committed, at once and whole, so that a crash
// leaves the old one or the new one. The database is never behind the file.
func (m *marker) remember(mark session.Mark) error {
	m.server.sessions.Adopting(mark.Adoption)
	m.remembered = mark
	text, err := json.Marshal(markText{mark.Incarnation, mark.N, mark.At, mark.Place})
	if err != nil {
		return err
	}
	return replaceFile(m.file, text)
}

// adopt is an operator's word that the database was restored. Its sessions may
// catch up for a while, or end where that is 0.
func (m *marker) adopt(ctx context.Context, adoptFor time.Duration) (session.Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mark, did, err := m.server.db.Restored(ctx, session.Restoration{
		Remembered: m.remembered, Told: !m.remembered.Known() || adoptFor == 0, AdoptFor: adoptFor,
	})
	if err != nil {
		return mark, err
	}
	if err := m.remember(mark); err != nil {
		return mark, err
	}
	if !did {
		return mark, errNotTurnedBack
	}
	return mark, nil
}

var errNotTurnedBack = errors.New("the database is not behind what is remembered of it here: nothing was restored, or a program has started since and ended all sessions")

// end stops looking, and moves the mark on a last time, so that a backup that was
// made a moment ago is behind.
func (m *marker) end(ctx context.Context) {
	m.close.Do(func() {
		if m.stop != nil {
			m.stop()
			m.running.Wait()
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		mark, err := m.server.db.Advance(ctx, m.remembered)
		if err == nil {
			err = m.remember(mark)
		}
		if errors.Is(err, session.ErrTurnedBack) {
			m.server.log.ErrorContext(ctx, "the database was restored: at its next start the program ends all sessions, unless `counterfoil store adopt` is called before", "error", err)
		} else if err != nil {
			m.server.log.WarnContext(ctx, "the database's mark was not moved on at the end", "error", err)
		}
	})
}

// replaceFile writes a file that is there as it was or as it is to be, whatever
// happens in between.
func replaceFile(path string, text []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Restored is an operator's word that the database was restored from a backup.
// For so long its sessions may catch up with what their owners hold; 0 ends them
// all.
func (s *Server) Restored(ctx context.Context, adoptFor time.Duration) (session.Mark, error) {
	return s.marker.adopt(ctx, adoptFor)
}

// durability tells what may be lost although it was acknowledged.
func (s *Server) durability(ctx context.Context) {
	reporter, ok := s.db.(interface {
		Durability(context.Context) ([]store.Setting, error)
	})
	if !ok {
		return
	}
	settings, err := reporter.Durability(ctx)
	if err != nil {
		s.log.WarnContext(ctx, "the database's settings for durability cannot be read", "error", err)
		return
	}
	for _, one := range settings {
		s.metrics.durable(one.Name, one.Risk == "")
		if one.Risk != "" {
			s.log.WarnContext(ctx, "a setting of the database is a risk", "setting", one.Name, "value", one.Value, "risk", one.Risk)
			continue
		}
		s.log.InfoContext(ctx, "setting of the database", "setting", one.Name, "value", one.Value)
	}
}
