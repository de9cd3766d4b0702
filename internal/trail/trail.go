// Package trail makes the audit log one that can be believed elsewhere: it
// chains committed events by hashes, signs checkpoints of the chain, reads it
// out, and brings the events to sinks.
//
// All of it happens behind the commit. No request waits for a seal or a sink;
// a sink that is full or dead only falls behind, and what it lacks stays in the
// store. It decides nothing about events and keeps nothing in memory that a
// restart would lose.
package trail

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// Store is what the log is kept in; the comments are at store.TrailStore.
type Store interface {
	Seal(ctx context.Context, limit int) (int, error)
	ChainHead(ctx context.Context) (audit.Link, error)
	Chain(ctx context.Context, after int64, limit int) ([]audit.Sealed, error)
	Unsealed(ctx context.Context) (audit.Unsealed, error)
	SaveCheckpoint(ctx context.Context, c audit.Checkpoint) error
	Checkpoints(ctx context.Context, from, to int64) ([]audit.Checkpoint, error)
	NewestCheckpoint(ctx context.Context, before time.Time) (audit.Checkpoint, error)
	Prune(ctx context.Context, upTo int64, limit int) (int, error)
	LeaseSink(ctx context.Context, name, holder string, hold time.Duration) (n int64, ok bool, err error)
	AdvanceSink(ctx context.Context, name, holder string, n int64, dead []audit.DeadLetter) (bool, error)
	Sinks(ctx context.Context) ([]audit.Sink, error)
	DeadLetters(ctx context.Context, limit int) ([]audit.DeadLetter, error)
}

// Observer hears what there is to count. Lag is in events.
type Observer interface {
	Sealed(head int64, err error)
	SinkDelivered(sink string, n int, lag int64)
	SinkFailed(sink string)
	SinkDead(sink string, n int)
	SinkLost(sink string, n int)
}

// Trail is the work in the background. All fields but Kept, Anchored and Sinks
// are needed; Every and CheckpointEvery have no defaults.
type Trail struct {
	Store Store
	// Vouch signs with the active audit key.
	Vouch func(message []byte) (key string, signature []byte)
	// Now is the store's clock.
	Now     func() time.Time
	Log     *slog.Logger
	Observe Observer
	// Every is how often to seal, CheckpointEvery how often to sign.
	Every, CheckpointEvery time.Duration
	// KeepPassing is after what time the store deletes passing events, Keep after
	// what time all are deleted; 0 is never.
	KeepPassing, Keep time.Duration
	// Anchored keeps a checkpoint outside of the database; nil keeps none.
	Anchored func(context.Context, audit.Checkpoint) error
	Sinks    []*Sink

	signed  audit.Checkpoint
	failing bool
	stop    context.CancelFunc
	running sync.WaitGroup
	end     sync.Once
}

const (
	// roundLimit and pruneLimit bound one transaction.
	roundLimit = 512
	pruneLimit = 256
	// resignAfter is how old a checkpoint gets while nothing happens: it says how
	// much the store may have deleted, which grows with time.
	resignAfter = time.Hour
	// sweptMargin is by how much the signed word is ahead of what is deleted.
	sweptMargin = 2 * resignAfter
)

// Start registers the sinks and begins to seal and to bring.
func (t *Trail) Start(ctx context.Context) error {
	for _, s := range t.Sinks {
		s.trail, s.wake = t, make(chan struct{}, 1)
		// Registered before anything more is sealed, so that a new sink misses
		// nothing of this run.
		if _, _, err := t.Store.LeaseSink(ctx, s.Name, s.Holder, leaseFor); err != nil {
			return err
		}
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.stop = stop
	t.running.Go(func() { t.loop(background) })
	for _, s := range t.Sinks {
		t.running.Go(func() { s.run(background) })
	}
	return nil
}

// Close seals what is committed and signs it. It is safe to call twice.
func (t *Trail) Close(ctx context.Context) {
	t.end.Do(func() {
		if t.stop == nil {
			return
		}
		t.stop()
		t.running.Wait()
		last, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := errors.Join(t.Seal(last), t.Sign(last)); err != nil {
			t.Log.WarnContext(ctx, "the audit log was not sealed at the end, the next start does it", "error", err)
		}
		for _, s := range t.Sinks {
			s.report(last, s.bring(last)) // what is left waits for the next start
			s.Out.Close()
		}
	})
}

func (t *Trail) loop(ctx context.Context) {
	tick := time.NewTicker(t.Every)
	defer tick.Stop()
	for {
		err := t.round(ctx)
		if ctx.Err() != nil {
			return
		}
		t.report(ctx, err)
		for _, s := range t.Sinks {
			select {
			case s.wake <- struct{}{}:
			default:
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (t *Trail) round(ctx context.Context) error {
	if err := t.Seal(ctx); err != nil {
		return err
	}
	if t.Now().Sub(t.signed.At) < t.CheckpointEvery {
		return nil
	}
	if err := t.Sign(ctx); err != nil {
		return err
	}
	return t.prune(ctx)
}

// report logs when sealing begins to fail and when it works again.
func (t *Trail) report(ctx context.Context, err error) {
	switch {
	case err != nil && !t.failing:
		t.failing = true
		t.Log.WarnContext(ctx, "the audit log is not sealed, it is tried again", "error", err)
	case err == nil && t.failing:
		t.failing = false
		t.Log.InfoContext(ctx, "the audit log is sealed again")
	}
}

// Seal chains all that is settled.
func (t *Trail) Seal(ctx context.Context) error {
	for {
		n, err := t.Store.Seal(ctx, roundLimit)
		if err != nil {
			t.Observe.Sealed(0, err)
			return err
		}
		if n < roundLimit {
			head, err := t.Store.ChainHead(ctx)
			t.Observe.Sealed(head.N, err)
			return err
		}
	}
}

// Sign makes a checkpoint, unless the newest one says all there is to say.
func (t *Trail) Sign(ctx context.Context) error {
	head, err := t.Store.ChainHead(ctx)
	if err != nil || head.N == 0 {
		return err
	}
	newest, err := t.Store.NewestCheckpoint(ctx, time.Time{})
	if err != nil {
		return err
	}
	now := t.Now().UTC().Truncate(time.Microsecond)
	if newest.N == head.N && now.Sub(newest.At) < resignAfter {
		t.signed = newest
		return t.anchor(ctx, newest)
	}
	if newest.N > head.N {
		// Links are missing that were vouched for. A checkpoint over what is left
		// would cover that up.
		return errors.New("the audit log is shorter than its newest checkpoint says: `counterfoil audit verify` tells more")
	}
	c := audit.Checkpoint{N: head.N, Seq: head.Seq, Hash: head.Hash, At: now, Swept: t.swept(now)}
	c.Key, c.Signature = t.Vouch(c.Message())
	if err := t.Store.SaveCheckpoint(ctx, c); err != nil {
		return err
	}
	t.signed = c
	return t.anchor(ctx, c)
}

func (t *Trail) anchor(ctx context.Context, c audit.Checkpoint) error {
	if t.Anchored == nil {
		return nil
	}
	return t.Anchored(ctx, c)
}

func (t *Trail) swept(now time.Time) time.Time {
	if t.KeepPassing == 0 {
		return time.Time{}
	}
	return now.Add(min(sweptMargin, t.KeepPassing/2) - t.KeepPassing)
}

// prune deletes whole segments that are old enough, up to a checkpoint, which
// stays as what the rest is verified from.
func (t *Trail) prune(ctx context.Context) error {
	if t.Keep == 0 {
		return nil
	}
	c, err := t.Store.NewestCheckpoint(ctx, t.Now().Add(-t.Keep))
	if err != nil || c.N == 0 {
		return err
	}
	for {
		n, err := t.Store.Prune(ctx, c.N, pruneLimit)
		if err != nil || n < pruneLimit {
			return err
		}
	}
}

// Reader reads the log out of a store.
type Reader struct{ Store }

// Page is the function Page.
func (r Reader) Page(ctx context.Context, after int64) ([]audit.Record, int64, error) {
	return Page(ctx, r.Store, after)
}

// pageSize is how many links are read at a time.
const pageSize = 500

// Page reads out the records after a link, as many as make a page, and where the
// next page begins; the last one has a record of type end.
func Page(ctx context.Context, s Store, after int64) (records []audit.Record, next int64, err error) {
	links, err := s.Chain(ctx, after, pageSize)
	if err != nil {
		return nil, after, err
	}
	next = after
	if len(links) > 0 {
		next = links[len(links)-1].N
	}
	last, from := len(links) < pageSize, after+1
	to := next
	if after == 0 {
		from = 0
	}
	if last {
		to = math.MaxInt64
	}
	signed, err := s.Checkpoints(ctx, from, to)
	if err != nil {
		return nil, next, err
	}
	for i := range links {
		for len(signed) > 0 && signed[0].N < links[i].N {
			records = append(records, audit.OfCheckpoint(&signed[0]))
			signed = signed[1:]
		}
		records = append(records, audit.OfSealed(&links[i]))
	}
	if !last {
		for i := range signed {
			records = append(records, audit.OfCheckpoint(&signed[i]))
		}
		return records, next, nil
	}
	return finish(ctx, s, records, signed, next)
}

// finish adds what the chain does not hold. Links that were added since the last
// were read are left to the next export, with their checkpoints.
func finish(ctx context.Context, s Store, records []audit.Record, signed []audit.Checkpoint, next int64) ([]audit.Record, int64, error) {
	rest, err := s.Unsealed(ctx)
	if err != nil {
		return nil, next, err
	}
	head, err := s.ChainHead(ctx)
	if err != nil {
		return nil, next, err
	}
	for i := range signed {
		if signed[i].N <= next || signed[i].N > head.N {
			records = append(records, audit.OfCheckpoint(&signed[i]))
		}
	}
	for i := range rest.Inserted {
		records = append(records, audit.OfInserted(&rest.Inserted[i]))
	}
	return append(records, audit.Record{Type: audit.RecordEnd, N: next, Waiting: rest.Waiting}), next, nil
}
