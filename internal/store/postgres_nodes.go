package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	// coalesce is how long a node that was woken waits until it reads again, so
	// that a thousand revocations a second do not make it read a thousand times.
	coalesce = 10 * time.Millisecond
	// asking is how often a node asks that does not listen.
	asking = 200 * time.Millisecond
	// listenAgain is how long a node waits before it listens again.
	listenAgain = 500 * time.Millisecond
	pruneEvery  = time.Minute
)

// loop reads changes when told to, and often enough to know that there are none.
func (f *feed) loop(ctx context.Context) {
	beat := time.NewTimer(f.interval())
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		case <-f.wake:
		}
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			f.p.health.report(publicPostgres(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(coalesce):
		}
		beat.Reset(f.interval())
	}
}

func (f *feed) interval() time.Duration {
	if f.listening.Load() {
		return f.p.config.Beat
	}
	return min(asking, f.p.config.Beat)
}

// round applies what is new and tells the other nodes so.
func (f *feed) round(ctx context.Context) error {
	f.applying.Lock()
	err := f.catchUp(ctx)
	f.applying.Unlock()
	if err != nil {
		return err
	}
	now := f.HeardAt()
	f.telling.Lock()
	due := f.told.applied != f.applied.Load() || now.Sub(f.told.at).Abs() >= f.p.config.Beat*9/10
	f.telling.Unlock()
	if due {
		if err := f.tell(ctx); err != nil {
			return err
		}
	}
	if now.Sub(f.pruned).Abs() < pruneEvery {
		return nil
	}
	f.pruned = now
	return f.prune(ctx, now)
}

const (
	pgTellNode = `INSERT INTO nodes (id, name, started, heard_at, applied, flushed_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at, applied = excluded.applied, flushed_at = excluded.flushed_at`
	pgSelectNodes = `SELECT id, name, started, heard_at, applied, flushed_at FROM nodes ORDER BY id`
)

// tell writes this node's row and reads those of all. A crash of the database
// may lose it, which only makes others wait for the next beat: so nobody waits
// for the disk here.
func (f *feed) tell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f.telling.Lock()
	defer f.telling.Unlock()
	conn, err := f.p.urgent.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	applied, heard := f.applied.Load(), f.heardAt.Load()
	var nodes []session.Node
	b := &pgx.Batch{}
	f.p.queueBegin(b, urgentLockTimeout)
	b.Queue(`SET LOCAL synchronous_commit = off`)
	b.Queue(pgTellNode, f.id, clean(f.p.config.Name), micro(f.started), heard, int64(applied), f.flushedAt.Load())
	statement{sql: pgSelectNodes, each: func(row pgx.CollectableRow) error {
		n, err := f.scanNode(row)
		nodes = append(nodes, n)
		return err
	}}.queue(b)
	queueCommit(b)
	if err := conn.Conn().SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	f.told.applied, f.told.at = applied, fromMicro(heard)
	f.learn(nodes)
	return nil
}

// learn takes in until when all live nodes have stored what they noticed. A node
// that joins later has noticed nothing from before it joined.
func (f *feed) learn(nodes []session.Node) {
	everybody := f.flushedAt.Load()
	for _, n := range f.live(nodes) {
		if !n.Self {
			everybody = min(everybody, micro(n.FlushedAt))
		}
	}
	f.everybody.Store(everybody)
}

func (f *feed) scanNode(row pgx.CollectableRow) (n session.Node, err error) {
	var started, heard, flushed int64
	err = row.Scan(&n.ID, &n.Name, &started, &heard, &n.Applied, &flushed)
	n.Started, n.HeardAt, n.FlushedAt = fromMicro(started), fromMicro(heard), fromMicro(flushed)
	if n.Self = n.ID == f.id; n.Self {
		n.HeardAt, n.FlushedAt, n.Applied = f.HeardAt(), fromMicro(f.flushedAt.Load()), f.applied.Load()
	}
	return n, err
}

// live leaves out the nodes that have not heard for too long, and puts this one
// first.
func (f *feed) live(nodes []session.Node) []session.Node {
	oldest := f.p.Now().Add(-f.p.config.LiveFor)
	nodes = slices.DeleteFunc(nodes, func(n session.Node) bool { return !n.Self && n.HeardAt.Before(oldest) })
	slices.SortStableFunc(nodes, func(a, b session.Node) int {
		switch {
		case a.Self:
			return -1
		case b.Self:
			return 1
		}
		return a.Started.Compare(b.Started)
	})
	return nodes
}

// HeardAt is until when this node has applied every committed change.
func (p *Postgres) HeardAt() time.Time { return p.feed.HeardAt() }

// HeardAt is when the last reading began that went to the end.
func (f *feed) HeardAt() time.Time { return fromMicro(f.heardAt.Load()) }

// FlushedAt is until when every live node has stored what it noticed.
func (p *Postgres) FlushedAt() time.Time { return fromMicro(p.feed.everybody.Load()) }

// Flushed tells the other nodes until when this one has stored what it noticed.
func (p *Postgres) Flushed(ctx context.Context, at time.Time) error {
	f := p.feed
	for n := micro(at); ; {
		old := f.flushedAt.Load()
		if old >= n || f.flushedAt.CompareAndSwap(old, n) {
			break
		}
	}
	if err := f.tell(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return publicPostgres(err)
	}
	return nil
}

// Nodes lists the live nodes, this one first.
func (p *Postgres) Nodes(ctx context.Context) ([]session.Node, error) {
	all, err := listRows(ctx, p, pgSelectNodes, p.feed.scanNode)
	return p.feed.live(all), err
}

// Await waits until every live node has applied what this one has. The nodes say
// so as soon as they have, so it asks in short intervals, and only while
// somebody waits.
func (p *Postgres) Await(ctx context.Context) (session.Reach, error) {
	began, wanted := p.config.Now(), p.feed.applied.Load()
	reach := session.Reach{Reached: 1, Live: 1}
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		nodes, err := p.Nodes(ctx)
		if err == nil {
			reach.Reached, reach.Live = 0, len(nodes)
			for _, n := range nodes {
				if n.Self || n.Applied >= wanted {
					reach.Reached++
				}
			}
		}
		reach.Took = p.config.Now().Sub(began)
		switch {
		case ctx.Err() != nil:
			return reach, nil
		case err != nil && !errors.Is(err, session.ErrUnavailable):
			return reach, err
		case err == nil && reach.Reached == reach.Live:
			return reach, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
