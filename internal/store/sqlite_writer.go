package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/session"
)

// writer owns the only connection that writes. Whatever waits when it comes
// round goes into one transaction.
//
// An operation fails without touching its neighbours: if it fails before it
// wrote anything, the transaction goes on without it; if it fails later, the
// transaction is rolled back and its operations run again, each alone.
// Operations may therefore run twice and must not remember the first time.
type writer struct {
	conn      *sqlite.Conn
	log       *slog.Logger
	failing   bool // as the log tells it
	tx        tx
	listening sync.Mutex
	listeners atomic.Pointer[[]func([]session.Change)]
	spare     sync.Pool
	seq       atomic.Uint64 // of the newest change that listeners have heard

	*queue[*operation]
}

// operation is one caller's part of a transaction.
type operation struct {
	ctx   context.Context
	apply func(*tx) error
	// outside is for what the engine does outside transactions only.
	outside bool
	// taken is won by the writer, which then answers, or by a caller who leaves.
	taken  atomic.Bool
	answer chan struct{}
	err    error
	// thrown is what apply panicked with. It is thrown again at the caller.
	thrown any
}

func newWriter(conn *sqlite.Conn, now func() time.Time, log *slog.Logger) (*writer, error) {
	w := &writer{conn: conn, log: log}
	w.spare.New = func() any { return &operation{answer: make(chan struct{}, 1)} }
	w.listeners.Store(new([]func([]session.Change)))
	if err := w.tx.init(conn, now); err != nil {
		return nil, public(err)
	}
	w.seq.Store(w.tx.seq)
	w.queue = newQueue(w.run)
	return w, nil
}

// listen adds a listener for committed changes.
func (w *writer) listen(listener func([]session.Change)) {
	w.listening.Lock()
	defer w.listening.Unlock()
	all := append([]func([]session.Change){}, *w.listeners.Load()...)
	all = append(all, listener)
	w.listeners.Store(&all)
}

// do runs apply in a transaction and returns when it is committed and all
// listeners have run. If ctx ends before apply has run, it does not run. It
// waits no longer than it takes to commit what was there before.
func (w *writer) do(ctx context.Context, apply func(*tx) error) error {
	return w.submit(ctx, apply, false)
}

func (w *writer) submit(ctx context.Context, apply func(*tx) error, outside bool) error {
	o := w.spare.Get().(*operation)
	o.ctx, o.apply, o.outside = ctx, apply, outside
	if err := w.put(o); err != nil {
		return err
	}
	select {
	case <-o.answer:
	case <-ctx.Done():
		if o.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-o.answer
	}
	err, thrown := o.err, o.thrown
	o.ctx, o.apply, o.err, o.thrown = nil, nil, nil, nil
	o.taken.Store(false)
	w.spare.Put(o)
	if thrown != nil {
		panic(thrown)
	}
	return err
}

// run commits a batch. Operations whose callers have left are not in it.
func (w *writer) run(batch []*operation) {
	mine := batch[:0]
	for _, o := range batch {
		if o.taken.CompareAndSwap(false, true) {
			mine = append(mine, o)
		}
	}
	for len(mine) > 0 {
		if mine[0].outside {
			w.tx.run(mine[0])
			w.answer(mine[:1])
			mine = mine[1:]
			continue
		}
		n := slices.IndexFunc(mine, func(o *operation) bool { return o.outside })
		if n < 0 {
			n = len(mine)
		}
		w.together(mine[:n])
		mine = mine[n:]
	}
}

// together runs operations in one transaction, or each in its own.
func (w *writer) together(batch []*operation) {
	if w.attempt(batch) {
		return
	}
	for i := range batch {
		w.attempt(batch[i : i+1])
	}
}

// attempt runs operations in one transaction and answers them. It returns
// false, with everything rolled back and nobody answered, if one of several
// failed half-way.
func (w *writer) attempt(batch []*operation) bool {
	t := &w.tx
	if err := t.begin(); err != nil {
		w.fail(batch, err)
		return true
	}
	for _, o := range batch {
		t.run(o)
		if o.err != nil && t.spoilt() {
			t.rollback()
			if len(batch) > 1 {
				return false
			}
			w.report(o.err)
			w.answer(batch)
			return true
		}
	}
	changes, err := t.commit()
	if err != nil {
		w.fail(batch, err)
		return true
	}
	if t.dirty {
		w.report(nil)
	}
	if len(changes) > 0 {
		for _, listener := range *w.listeners.Load() {
			listener(changes)
		}
		w.seq.Store(changes[len(changes)-1].Seq)
	}
	w.answer(batch)
	return true
}

// fail answers a transaction that did not begin or not commit. Refusals are
// answered so, too: they may rest on what an earlier operation of the batch
// would have written.
func (w *writer) fail(batch []*operation, err error) {
	err = public(err)
	if !errors.Is(err, session.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", session.ErrUnavailable, err)
	}
	w.report(err)
	for _, o := range batch {
		if o.thrown == nil {
			o.err = err
		}
	}
	w.answer(batch)
}

// report logs when storing begins to fail and when it works again, not every
// attempt of everybody in between.
func (w *writer) report(err error) {
	switch failing := errors.Is(err, session.ErrUnavailable); {
	case failing && !w.failing:
		w.failing = true
		w.log.Error("nothing can be stored, callers get 503 until it works again", "error", err)
	case err == nil && w.failing:
		w.failing = false
		w.log.Info("the store works again")
	}
}

func (w *writer) answer(batch []*operation) {
	for _, o := range batch {
		o.answer <- struct{}{}
	}
}
