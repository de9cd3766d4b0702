package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// feed brings the changes of all nodes to this one's listeners, in the order of
// their numbers. Commits that make changes happen one after the other (they all
// take the row of the table feed as their last act), so whoever can read number
// n can read all before it, and one number is all that a node remembers of what
// it has heard.
type feed struct {
	p       *Postgres
	id      string
	started time.Time

	// applying is held while changes are applied: listeners run one at a time.
	applying  sync.Mutex
	listeners []func([]session.Change)
	// early are the changes of other nodes that came while this one was
	// starting, for listeners that register later.
	early []session.Change

	// recent are the changes that were applied last, by number.
	recent [256]session.Change

	applied   atomic.Uint64
	heardAt   atomic.Int64
	flushedAt atomic.Int64 // until when this node has stored what it noticed
	everybody atomic.Int64 // until when all live nodes have

	wake      chan struct{}
	listening atomic.Bool
	// telling is held while this node's row is written, and told is what other
	// nodes can read in it.
	telling sync.Mutex
	told    struct {
		applied uint64
		at      time.Time
	}
	pruned time.Time

	stop    context.CancelFunc
	running sync.WaitGroup
}

const (
	// startingFor is how long a node may take until all its listeners are
	// registered, and maxEarly bounds the changes that are kept for them.
	startingFor = time.Minute
	maxEarly    = 10_000
	// channel is what nodes listen on.
	channel = "counterfoil_changes"
	// page is how many changes are read at a time.
	changesPage = 1000
)

const (
	pgTakeFeed = `WITH taken AS (UPDATE feed SET seq = seq + cardinality($1::text[]) RETURNING seq)
		INSERT INTO changes (seq, kind, tenant, user_id, session, epoch, at)
		SELECT taken.seq - cardinality($1::text[]) + c.n, c.kind, c.tenant, c.user_id, c.session, c.epoch, c.at
		FROM taken, unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[])
			WITH ORDINALITY AS c (kind, tenant, user_id, session, epoch, at, n)
		RETURNING seq`
	pgNotify      = `SELECT pg_notify('` + channel + `', '')`
	pgReadFeed    = `SELECT seq FROM feed`
	pgReadChanges = `SELECT seq, kind, tenant, user_id, session, epoch, at FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2`
)

// queueChanges gives changes their numbers and tells the other nodes. The row of
// the feed is locked from here to the commit, so this comes last.
func queueChanges(b *pgx.Batch, changes []session.Change, newest *int64) {
	if len(changes) == 0 {
		return
	}
	var kinds, tenants, users []string
	var sessions [][]byte
	var epochs, times []int64
	for i := range changes {
		c := &changes[i]
		id := c.Session[:]
		if c.Session == (token.SessionID{}) {
			id = []byte{}
		}
		kinds, tenants, users = append(kinds, string(c.Kind)), append(tenants, clean(c.Tenant)), append(users, clean(c.UserID))
		sessions, epochs, times = append(sessions, id), append(epochs, int64(c.Epoch)), append(times, micro(c.At))
	}
	b.Queue(pgTakeFeed, kinds, tenants, users, sessions, epochs, times).Query(func(rows pgx.Rows) error {
		return eachRow(rows, func(row pgx.CollectableRow) error {
			var seq int64
			err := row.Scan(&seq)
			*newest = max(*newest, seq)
			return err
		})
	})
	b.Queue(pgNotify)
}

func openFeed(ctx context.Context, p *Postgres, base *pgx.ConnConfig) (*feed, error) {
	f := &feed{p: p, id: rand.Text()[:16], wake: make(chan struct{}, 1)}
	// All changes before this are in what the node will read when it starts.
	now, newest, _, err := f.read(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	f.started = now
	f.applied.Store(newest)
	f.heardAt.Store(micro(now))
	f.flushedAt.Store(micro(now)) // it has noticed nothing yet
	f.everybody.Store(micro(now))
	p.latest.Store(micro(now))
	if err := f.tell(ctx); err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.running.Go(func() { f.loop(background) })
	if target := f.listenTarget(base); target != nil {
		f.running.Go(func() { f.listen(background, target) })
	}
	return f, nil
}

// OnChange registers a listener. Listeners run on the goroutine of whoever made
// the change or heard of it, one at a time, so no other change is acknowledged
// until it returns: it may read from the store, but to write to it, or to wait
// for somebody who does, is to wait for ever.
func (p *Postgres) OnChange(listen func([]session.Change)) {
	f := p.feed
	f.applying.Lock()
	defer f.applying.Unlock()
	f.listeners = append(f.listeners, listen)
	if len(f.early) > 0 {
		listen(f.early)
	}
}

// own applies changes that this node has just committed, before they are
// acknowledged. Those that came between, of other nodes or of other
// transactions of this one, are read and applied first.
func (f *feed) own(ctx context.Context, changes []session.Change) {
	f.applying.Lock()
	defer f.applying.Unlock()
	first, last, applied := changes[0].Seq, changes[len(changes)-1].Seq, f.applied.Load()
	if applied+1 == first {
		f.apply(changes)
		return
	}
	if applied >= last && f.recently(changes) {
		return
	}
	if applied >= last {
		// The database was restored, or is another one now, and counts from an
		// earlier number. The next reading notices and reads everything again.
		f.announce(changes)
		f.wakeUp()
		return
	}
	if err := f.catchUp(ctx); err != nil && f.applied.Load() < last {
		// The database went away after the commit. Listeners hear of these out of
		// turn, and once more when it is back: they merge by maximum, or reload.
		f.announce(changes)
	}
}

func (f *feed) apply(changes []session.Change) {
	f.announce(changes)
	for _, c := range changes {
		f.recent[c.Seq%uint64(len(f.recent))] = c
	}
	f.applied.Store(changes[len(changes)-1].Seq)
}

// recently is whether these very changes have been applied.
func (f *feed) recently(changes []session.Change) bool {
	for _, c := range changes {
		known := f.recent[c.Seq%uint64(len(f.recent))]
		if known.Seq != c.Seq || known.Kind != c.Kind || known.Session != c.Session || !known.At.Equal(c.At) {
			return false
		}
	}
	return true
}

func (f *feed) announce(changes []session.Change) {
	for _, c := range changes {
		f.p.dated(c.At)
	}
	for _, listen := range f.listeners {
		listen(changes)
	}
}

// read reads the changes after one, at most limit, the number of the newest,
// and from when this is: the time is read before the changes, so whatever was
// committed before that time is among them.
func (f *feed) read(ctx context.Context, after uint64, limit int) (now time.Time, newest uint64, changes []session.Change, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var clock time.Time
	b := &pgx.Batch{}
	b.Queue(selectClock).QueryRow(func(row pgx.Row) error { return row.Scan(&clock) })
	b.Queue(pgReadFeed).QueryRow(func(row pgx.Row) error { return row.Scan(&newest) })
	if limit > 0 {
		statement{sql: pgReadChanges, args: []any{int64(after), limit}, each: func(row pgx.CollectableRow) error {
			c, err := scanChange(row)
			changes = append(changes, c)
			return err
		}}.queue(b)
	}
	conn, err := f.p.urgent.Acquire(ctx)
	if err != nil {
		return now, 0, nil, err
	}
	defer conn.Release()
	before := f.p.config.Now()
	err = conn.Conn().SendBatch(ctx, b).Close()
	if err == nil {
		f.p.clock.measure(before, f.p.config.Now(), clock)
	}
	return f.p.clock.turned(clock), newest, changes, err
}

func scanChange(row pgx.CollectableRow) (c session.Change, err error) {
	var id []byte
	var at int64
	err = row.Scan(&c.Seq, &c.Kind, &c.Tenant, &c.UserID, &id, &c.Epoch, &at)
	copy(c.Session[:], id)
	c.At = fromMicro(at)
	return c, err
}

// catchUp applies all that was committed before it began. It is called with
// applying held.
func (f *feed) catchUp(ctx context.Context) error {
	for {
		applied := f.applied.Load()
		now, newest, changes, err := f.read(ctx, applied, changesPage)
		if err != nil {
			return err
		}
		if missed(applied, newest, changes) {
			if err := f.reload(ctx, newest); err != nil {
				return err
			}
			f.heardAt.Store(micro(now))
			return nil
		}
		if len(changes) > 0 {
			if now.Sub(f.started) < startingFor && len(f.early) < maxEarly {
				f.early = append(f.early, changes...)
			} else {
				f.early = nil
			}
			f.apply(changes)
		}
		if len(changes) < changesPage {
			f.heardAt.Store(micro(now))
			return nil
		}
	}
}

// missed is whether changes after the applied one are not there any more, or
// the database was restored from a time before it.
func missed(applied, newest uint64, changes []session.Change) bool {
	if len(changes) == 0 {
		return newest != applied
	}
	for i, c := range changes {
		if c.Seq != applied+1+uint64(i) {
			return true
		}
	}
	return false
}

// reloadMargin is how long before its commit a change may have been dated.
const reloadMargin = 10 * time.Minute

// reload makes up for changes that cannot be read any more: what ended and which
// epochs moved since the node heard last is told as changes, without numbers,
// and Missed stands for the rest.
func (f *feed) reload(ctx context.Context, newest uint64) error {
	since := fromMicro(f.heardAt.Load()).Add(-reloadMargin)
	ended, err := f.p.EndedSince(ctx, since)
	if err != nil {
		return err
	}
	changes, err := f.p.Epochs(ctx, since)
	if err != nil {
		return err
	}
	for _, e := range ended {
		changes = append(changes, session.Change{Kind: session.SessionEnded, Session: e.Session, At: e.At})
	}
	f.p.log.Warn("changes of other nodes were missed, everything is read again", "applied", f.applied.Load(), "newest", newest)
	f.announce(append(changes, session.Change{Kind: session.Missed, At: f.p.Now()}))
	f.applied.Store(newest)
	return nil
}

// prune forgets changes that every node has had time to read. It looks at the
// oldest alone, so it costs the same however many there are.
func (f *feed) prune(ctx context.Context, now time.Time) error {
	const query = `DELETE FROM changes WHERE seq = ANY(ARRAY(
		SELECT seq FROM (SELECT seq, at FROM changes ORDER BY seq LIMIT 5000) oldest WHERE at < $1))`
	return f.p.do(ctx, func(t *pgTx) error {
		if _, err := t.exec(query, micro(now.Add(-f.p.config.KeepChanges))); err != nil {
			return fmt.Errorf("prune changes: %w", err)
		}
		_, err := t.exec(`DELETE FROM nodes WHERE heard_at < $1 AND id <> $2`, micro(now.Add(-f.p.config.KeepChanges)), f.id)
		return err
	})
}
