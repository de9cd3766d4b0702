package store

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// swapper is the short way of an update that only moves a session on, as nearly
// every refresh does. The callbacks decide on rows that are not locked: as this
// node wrote them last, or else read together with the database's clock. Each
// new state is written if the old one is still there, in one statement that is a
// transaction of its own. A state never comes back, so one that is still there
// was there all the time: it is as if the row had been locked since it was read.
//
// While a batch is written and synced to the disk, the next gathers: whatever
// has been decided by then. It never waits for more to come.
//
// Everything else takes the long way, which locks (group): updates with events,
// the first of a day, ends and strikes, refusals, rows that somebody else changed meanwhile. So does
// what failed and surely left nothing; a write whose answer was lost is unknown,
// and nobody here does it again.
type swapper struct {
	p     *Postgres
	spare sync.Pool
	// Rows that are remembered are decided on by their callers, the others are
	// read for many at once.
	reads, writes *queue[*swap]

	// recent are rows as this node wrote them last. Where other nodes write them,
	// too, they are seldom right: luck counts, and below 0 they are only tried now
	// and then.
	recent *lru.Cache[token.SessionID, pgRow]
	luck   atomic.Int64
	tries  atomic.Uint64
}

const (
	// maxRecent bounds the rows remembered, of less than 1 KiB each.
	maxRecent = 16_384
	// What a guess that was right adds to the luck and one that was wrong takes:
	// a wrong one costs two round trips more, a right one saves one.
	lucky, unlucky, mostLuck = 1, 4, 64
	// tryLuck is every how many updates the memory is tried when out of luck.
	tryLuck = 32
)

// swap is one caller's part.
type swap struct {
	ctx    context.Context
	id     token.SessionID
	decide func(now time.Time, s *session.Session) session.Effects
	// taken is won by the swapper, which then answers, or by a caller who leaves.
	taken  atomic.Bool
	mine   bool // the swapper has won
	answer chan struct{}
	made   bool
	err    error

	// What to write, if the row still is as it was read, and the database's clock
	// about where it was when decide ran.
	row     pgRow
	was     session.Session // what decide was given
	before  []byte          // the state of that
	now     time.Time
	guessed bool // the row was remembered
	// meanwhile is for the caller to do until there is an answer.
	meanwhile func()
}

func newSwapper(p *Postgres) *swapper {
	s := &swapper{p: p}
	s.spare.New = func() any { return &swap{answer: make(chan struct{}, 1)} }
	s.recent, _ = lru.New[token.SessionID, pgRow](maxRecent) // fails for a size below 1
	s.reads, s.writes = newQueue(s.read), newQueue(s.write)
	return s
}

// do returns whether it has made the update and that is committed. If not, and
// there is no error, the update is to be made the long way, which finds what was
// done here.
func (s *swapper) do(ctx context.Context, id token.SessionID, decide func(now time.Time, s *session.Session) session.Effects) (done bool, err error) {
	w := s.spare.Get().(*swap)
	w.ctx, w.id, w.decide = ctx, id, decide
	to, meanwhile := s.reads, (func())(nil)
	if row, known := s.remembered(id); known {
		if !w.moves(s.p, row, s.p.clock.estimate()) {
			s.keep(w)
			return false, nil
		}
		w.guessed, to, meanwhile = true, s.writes, w.meanwhile
	}
	if err := to.put(w); err != nil {
		s.keep(w)
		return false, err
	}
	if meanwhile != nil {
		meanwhile()
	}
	select {
	case <-w.answer:
	case <-ctx.Done():
		if w.taken.CompareAndSwap(false, true) {
			return false, ctx.Err() // the swapper may still look at it: it is not used again
		}
		<-w.answer
	}
	done, err = w.made, w.err
	s.keep(w)
	return done, err
}

func (s *swapper) keep(w *swap) {
	*w = swap{answer: w.answer}
	s.spare.Put(w)
}

// remembered is a row as this node wrote it last, where that is worth a try.
func (s *swapper) remembered(id token.SessionID) (row pgRow, known bool) {
	if s.luck.Load() < 0 && s.tries.Add(1)%tryLuck != 0 {
		return row, false
	}
	return s.recent.Get(id)
}

// take wins an update for the swapper. One whose caller has gone, or who wants the
// same row as another, goes the long way.
func (w *swap) take(asked map[token.SessionID]*swap) bool {
	gone := false
	if !w.mine {
		if !w.taken.CompareAndSwap(false, true) {
			return false // it has left
		}
		w.mine, gone = true, w.ctx.Err() != nil
	}
	if gone || asked[w.id] != nil {
		w.answer <- struct{}{}
		return false
	}
	asked[w.id] = w
	return true
}

// answerAll answers callers. Those whose update was not made go the long way,
// unless there is an error.
func answerAll(waiting map[token.SessionID]*swap, err error) {
	for _, w := range waiting {
		w.err = err
		w.answer <- struct{}{}
	}
}

// drain lets the swapper finish what waits and end.
func (s *swapper) drain() {
	s.reads.drain()
	s.writes.drain()
}

const (
	pgReadSessions = `SELECT ` + sessionColumns + `, clock_timestamp() FROM sessions WHERE id = ANY($1::bytea[])`
	// A node's own clock may have been set since it was compared. What was decided
	// by one that is wrong is not written.
	pgClockIsRight = ` AND clock_timestamp() BETWEEN new.now - interval '500 ms' AND new.now + interval '500 ms'`
	pgSwapIfSame   = `WHERE sessions.id = new.id AND sessions.state = new.before AND sessions.tenant_epoch = new.epoch` +
		pgClockIsRight + ` RETURNING sessions.id`
	// The rows are locked in the order in which they are given: of their ids.
	pgSwapStates = `UPDATE sessions SET state = new.state
		FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::timestamptz[]) AS new (id, before, state, epoch, now) ` + pgSwapIfSame
	pgSwapState = `UPDATE sessions SET state = new.state
		FROM (SELECT $1::bytea, $2::bytea, $3::bytea, $4::bigint, $5::timestamptz) AS new (id, before, state, epoch, now) ` + pgSwapIfSame
)

// read finds the rows of a batch, decides, and hands on what is to be written.
func (s *swapper) read(batch []*swap) {
	ids := make([][]byte, 0, len(batch))
	asked := make(map[token.SessionID]*swap, len(batch))
	for _, w := range batch {
		if w.take(asked) {
			ids = append(ids, w.id[:])
		}
	}
	if len(ids) == 0 {
		return
	}
	ready := make([]*swap, 0, len(ids))
	_, err := s.trip(statement{sql: pgReadSessions, args: []any{ids}, each: func(row pgx.CollectableRow) error {
		var r pgRow
		var clock time.Time
		if scanRow(row, &r, &clock) != nil {
			return nil
		}
		if w := asked[r.ID]; w != nil && w.moves(s.p, r, clock) {
			ready = append(ready, w)
			delete(asked, r.ID)
		}
		return nil
	}}, false)
	answerAll(asked, err)
	for _, w := range ready {
		// Once it is put, it is the writer's, and may be answered already.
		if err := s.writes.put(w); err != nil {
			w.err = err
			w.answer <- struct{}{}
		}
	}
}

// moves decides, and returns whether that only moves the session on. What decide
// panics with, it will panic with again on the long way.
func (w *swap) moves(p *Postgres, row pgRow, clock time.Time) (moves bool) {
	defer func() { _ = recover() }()
	w.row, w.was = row, row.Session
	r := &w.row
	now := p.clock.turned(clock)
	p.dated(now)
	effects := w.decide(now, &r.Session)
	if !effects.Save || len(effects.Events) > 0 || effects.EndUser != "" || allowed(&r.Session, &w.was) != nil ||
		!r.RevokedAt.IsZero() || struckAt(&r.Session) != r.struck || r.TenantEpoch != r.epoch || r.Confirm != r.bound || r.moved() {
		return false
	}
	after := encodeState(&r.Session)
	w.now, w.meanwhile = clock, effects.Meanwhile
	w.before, r.stored = r.stored, after[:]
	return true
}

// write writes a batch and answers it.
func (s *swapper) write(batch []*swap) {
	n := len(batch)
	waiting := make(map[token.SessionID]*swap, n)
	batch = slices.DeleteFunc(batch, func(w *swap) bool { return !w.take(waiting) })
	if len(batch) == 0 {
		return
	}
	slices.SortFunc(batch, func(a, b *swap) int { return bytes.Compare(a.id[:], b.id[:]) })
	ids, before, after := make([][]byte, 0, n), make([][]byte, 0, n), make([][]byte, 0, n)
	epochs, clocks := make([]int64, 0, n), make([]time.Time, 0, n)
	for _, w := range batch {
		ids, before, after = append(ids, w.id[:]), append(before, w.before), append(after, w.row.stored)
		epochs, clocks = append(epochs, int64(w.row.epoch)), append(clocks, w.now)
	}
	one := statement{sql: pgSwapStates, args: []any{ids, before, after, epochs, clocks}}
	if len(ids) == 1 {
		one = statement{sql: pgSwapState, args: []any{ids[0], before[0], after[0], epochs[0], clocks[0]}}
	}
	made := make(map[token.SessionID]*swap, n)
	one.each = func(row pgx.CollectableRow) error {
		var raw []byte
		err := row.Scan(&raw)
		var id token.SessionID
		copy(id[:], raw)
		if w := waiting[id]; w != nil {
			delete(waiting, id)
			made[id] = w
		}
		return err
	}
	long, err := s.trip(one, true)
	for _, w := range made {
		w.made = !long && err == nil
		s.learn(w)
	}
	for _, w := range waiting {
		s.learn(w)
	}
	answerAll(waiting, err)
	answerAll(made, err)
}

// learn remembers the row of an update that was made, and whether guessing it
// was right.
func (s *swapper) learn(w *swap) {
	if w.made {
		s.recent.Add(w.id, w.row)
	} else {
		s.recent.Remove(w.id)
	}
	switch {
	case !w.guessed:
	case w.made:
		s.luck.Store(min(s.luck.Load()+lucky, mostLuck))
	default:
		s.luck.Store(max(s.luck.Load()-unlucky, -mostLuck))
	}
}

// wrote remembers rows that were written the long way, of those that it knew.
func (s *swapper) wrote(rows []*pgRow) {
	for _, r := range rows {
		switch {
		case !s.recent.Contains(r.ID):
		case !r.RevokedAt.IsZero():
			s.recent.Remove(r.ID)
		default:
			after := encodeState(&r.Session)
			known := *r
			known.stored, known.struck, known.epoch, known.dirty = after[:], struckAt(&r.Session), r.TenantEpoch, false
			known.day, known.bound = max(r.day, activeDay(&r.Session)), r.Confirm
			s.recent.Add(r.ID, known)
		}
	}
}

// trip runs a statement in a transaction of its own, in one round trip. If it
// failed and the long way is the way to try again, long is true.
func (s *swapper) trip(one statement, writes bool) (long bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = s.p.urgent.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		b := &pgx.Batch{}
		if s.p.config.Pooled {
			s.p.queueBegin(b, urgentLockTimeout)
		}
		one.queue(b)
		if s.p.config.Pooled {
			queueCommit(b)
		}
		return conn.SendBatch(ctx, b).Close()
	})
	if err != nil && ctx.Err() == nil && again(err, writes) {
		return true, nil
	}
	err = publicPostgres(err)
	s.p.health.report(err)
	return false, err
}
