package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/counterfoil/counterfoil/internal/session"
)

var _ DB = (*Postgres)(nil)

// PostgresConfig says where the database is. URL and Now are needed.
type PostgresConfig struct {
	// URL is the database's in libpq's words (postgres://…). What it leaves out
	// is taken from the environment, as psql does.
	URL string
	// Listen is a URL that leads past the pooler, for hearing of changes at
	// once. Empty is URL, or none where that is pooled: then the node asks.
	Listen string
	// Pooled is whether URL leads to a pooler that lends its connections for one
	// transaction at a time, as PgBouncer does. Nothing is prepared then, and no
	// setting outlives a transaction.
	Pooled bool
	// Name is what operators call this node.
	Name string
	// LiveFor is how long a node counts as live after the last time at which it
	// reported to have heard everything, and is waited for; 0 is
	// session.DefaultTrust.
	LiveFor time.Duration
	// Now is this node's clock. It may be wrong: what is stored, and what Now of
	// the store returns, goes by the database's.
	Now func() time.Time
	// Log gets what no caller can be told; nil discards it.
	Log *slog.Logger
	// MaxConns bounds the connections of everything but refreshes, which have
	// three of their own, and the feed, which has two. 0 is 10.
	MaxConns int
	// Beat is how often the node tells that it lives; 0 is a second.
	Beat time.Duration
	// KeepChanges is how long other nodes may be away and still read what they
	// missed one by one; 0 is two hours.
	KeepChanges time.Duration

	// turn, in tests, makes the database's clock another.
	turn func(time.Time) time.Time
}

// Postgres is the engine for many nodes on one PostgreSQL. Its methods are safe
// for concurrent use.
type Postgres struct {
	config PostgresConfig
	log    *slog.Logger
	clock  databaseClock
	// latest is the newest time that anything was dated with, in microseconds: a
	// clock that was set back, by a failover perhaps, must not date the end of a
	// session so early that no node finds a reason to remember it.
	latest atomic.Int64

	// pool is for what may wait behind a crowd of logins, urgent for refreshes
	// and the feed, which may not.
	pool, urgent *pgxpool.Pool
	swapper      *swapper
	group        *group
	feed         *feed
	health       health
	// place is where the database was when it was opened, for people.
	place string

	stopping atomic.Bool
	close    sync.Once
}

const (
	defaultConns = 10
	urgentConns  = 5
	defaultBeat  = time.Second
	defaultKeep  = 2 * time.Hour
)

// The bounds of one transaction. A request waits five seconds for a store that
// is away, so a database that hangs must be given up before that.
const (
	patience         = 2500 * time.Millisecond
	statementTimeout = "2000"
	lockTimeout      = "1500"
	// urgentLockTimeout is how long many updates wait because somebody holds the
	// row of one of them.
	urgentLockTimeout = "300"
	// idleTimeout frees the rows of a node that was stopped, or whose machine
	// died, between reading and writing them.
	idleTimeout = "2000"
)

// OpenPostgres opens the store and brings its schema up to date. It fails with
// ErrSchema if that was made by a newer version of the program.
func OpenPostgres(ctx context.Context, c PostgresConfig) (_ *Postgres, err error) {
	if c.URL == "" || c.Now == nil {
		return nil, errors.New("store: URL and Now must be set")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.MaxConns, c.Beat, c.KeepChanges = orStandard(c.MaxConns, defaultConns), orStandard(c.Beat, defaultBeat), orStandard(c.KeepChanges, defaultKeep)
	c.LiveFor = orStandard(c.LiveFor, session.DefaultTrust)
	base, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, errors.New("store: the URL of the database cannot be read") // it may hold a password
	}
	switch base.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec:
		c.Pooled = true
	}
	p := &Postgres{config: c, log: c.Log, health: health{log: c.Log}}
	p.clock.init(c.Now, c.turn)
	defer func() {
		if err != nil {
			err = fmt.Errorf("store: %w", err)
			p.release()
		}
	}()
	prepare(base.ConnConfig, c.Pooled)
	if err := p.migrate(ctx, base.ConnConfig); err != nil {
		return nil, err
	}
	if p.pool, err = openPool(base, c.MaxConns); err != nil {
		return nil, err
	}
	if !c.Pooled {
		base.ConnConfig.RuntimeParams["lock_timeout"] = urgentLockTimeout
	}
	if p.urgent, err = openPool(base, urgentConns); err != nil {
		return nil, err
	}
	p.swapper = newSwapper(p)
	if p.feed, err = openFeed(ctx, p, base.ConnConfig); err != nil {
		return nil, publicPostgres(err)
	}
	p.group, p.place = newGroup(p), p.wherever(ctx)
	return p, nil
}

func orStandard[T comparable](value, standard T) T {
	var none T
	if value == none {
		return standard
	}
	return value
}

// prepare sets what every connection needs. A pooler takes no settings at the
// start of a connection, so transactions bring theirs along.
func prepare(c *pgx.ConnConfig, pooled bool) {
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "counterfoil"
	}
	c.ConnectTimeout = orStandard(c.ConnectTimeout, patience)
	if pooled {
		c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		return
	}
	for name, value := range map[string]string{
		"statement_timeout": statementTimeout, "lock_timeout": lockTimeout, "idle_in_transaction_session_timeout": idleTimeout,
		// Every statement of ours has an index to go by: a plan that was made while
		// a table was small must not walk it when it has a million rows.
		"enable_seqscan": "off", "jit": "off",
	} {
		c.RuntimeParams[name] = value
	}
}

// openPool connects nowhere yet. A connection that died is noticed by whoever
// uses it next, and that transaction is tried again; asking before each use
// whether it lives would cost a lone refresh a third of its time.
func openPool(base *pgxpool.Config, size int) (*pgxpool.Pool, error) {
	c := base.Copy()
	c.MaxConns = int32(size)
	c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	return pgxpool.NewWithConfig(context.Background(), c)
}

func (p *Postgres) migrate(ctx context.Context, c *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return publicPostgres(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return bringUp(ctx, conn)
}

// Close finishes what waits and closes the connections. Calling it again is
// harmless.
func (p *Postgres) Close() error {
	p.close.Do(p.release)
	return nil
}

func (p *Postgres) release() {
	if p.swapper != nil {
		p.swapper.drain()
	}
	if p.group != nil {
		p.group.drain() // its listeners may still read
	}
	p.stopping.Store(true)
	if p.feed != nil {
		p.feed.close()
	}
	for _, pool := range []*pgxpool.Pool{p.pool, p.urgent} {
		if pool != nil {
			pool.Close()
		}
	}
}

// Now is the database's clock, as far as this node can tell without asking.
func (p *Postgres) Now() time.Time { return p.clock.Now() }

// SchemaVersion is the number of the newest migration.
func (p *Postgres) SchemaVersion(ctx context.Context) (int, error) {
	return oneRow(ctx, p, "schema", `SELECT max(version) FROM migrations`, func(row pgx.CollectableRow) (n int, err error) {
		return n, row.Scan(&n)
	})
}

// health logs when storing begins to fail and when it works again, not every
// attempt of everybody in between.
type health struct {
	log     *slog.Logger
	failing atomic.Bool
}

func (h *health) report(err error) {
	switch failing := errors.Is(err, session.ErrUnavailable); {
	case failing && !h.failing.Swap(true):
		h.log.Error("the database cannot be used, callers get 503 until it works again", "error", err)
	case err == nil && h.failing.Swap(false):
		h.log.Info("the database works again")
	}
}
