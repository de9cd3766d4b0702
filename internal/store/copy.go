package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// ErrNotEmpty is a target that somebody has worked with.
var ErrNotEmpty = errors.New("the target is not empty")

// errUncertain is a commit whose answer was lost.
var errUncertain = errors.New("the answer to the commit was lost: the target is either whole or empty")

// Place is where an installation is kept: either in the SQLite file Path, or in
// the PostgreSQL database URL.
type Place struct {
	Path string
	URL  string
	// Pooled is as in PostgresConfig.
	Pooled bool
}

// CopyConfig says what to copy. From, To and Now are needed.
type CopyConfig struct {
	From, To Place
	// Force copies a source that programs work on. What they do meanwhile is not
	// in the copy, so that it is good for a rehearsal only.
	Force bool
	// LiveFor is as in PostgresConfig.
	LiveFor time.Duration
	Now     func() time.Time
	// Progress hears where the copy is: at the beginning of each table, and every
	// so many rows. nil is nobody.
	Progress func(Progress)
}

// Progress is how much of a table is done.
type Progress struct {
	Table    string
	Done, Of int64
	// Checking is whether the rows are read again in the target.
	Checking bool
}

// Copied is what was copied.
type Copied struct {
	Tables []CopiedTable `json:"tables"`
	// Replaced is how many texts the target keeps with a replacement character
	// for what it cannot hold.
	Replaced int64 `json:"replaced"`
}

// CopiedTable is a table that source and target agree on.
type CopiedTable struct {
	Name     string `json:"table"`
	Rows     int64  `json:"rows"`
	Checksum string `json:"checksum"`
}

// progressEvery is how many rows lie between two reports.
const progressEvery = 50_000

// copySource is a snapshot of an installation.
type copySource interface {
	count(ctx context.Context, query string) (int64, error)
	// rows reads a table in the order of its key. A row is good until the next.
	rows(ctx context.Context, t *table) iter.Seq2[[]any, error]
	close()
}

// copyTarget is a transaction that nobody else can look into, and without whose
// commit nothing has happened.
type copyTarget interface {
	copySource
	exec(ctx context.Context, query string) error
	// keeps is a text as this engine stores it.
	keeps(text string) string
	// insert writes the rows that next gives, until one is nil.
	insert(ctx context.Context, t *table, next func() ([]any, error)) error
	commit(ctx context.Context) error
}

// Copy copies a whole installation, live sessions included, to a place that
// holds nothing yet. It is one transaction of the target, in which what was
// written is read again and compared: a copy that was interrupted, at whatever
// moment and however rudely, has left nothing, no program can start on the half
// of one, and it can be made again as if for the first time.
//
// While it runs, no program can begin to work on the source or on the target.
// Sessions keep their secrets and states, so that every token goes on as it
// would have on the source. What one node tells the others is not copied.
func Copy(ctx context.Context, c CopyConfig) (_ *Copied, err error) {
	if c.Now == nil {
		return nil, errors.New("store: Now must be set")
	}
	c.LiveFor = orStandard(c.LiveFor, session.DefaultTrust)
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	defer func() {
		if err != nil && ctx.Err() != nil && !errors.Is(err, errUncertain) {
			err = ctx.Err() // the engines say it in words of their own
		}
	}()
	from, err := c.openSource(ctx)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer from.close()
	to, err := c.openTarget(ctx)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	defer to.close()
	if err := vacate(ctx, to); err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	run := &copying{from: from, to: to, progress: c.Progress}
	for i := range copiedTables {
		if err := run.table(ctx, &copiedTables[i]); err != nil {
			return nil, fmt.Errorf("table %s: %w", copiedTables[i].name, err)
		}
	}
	for i := range copiedTables {
		if err := run.check(ctx, &copiedTables[i], run.done.Tables[i]); err != nil {
			return nil, fmt.Errorf("table %s: %w", copiedTables[i].name, err)
		}
	}
	if err := to.commit(ctx); err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	return &run.done, nil
}

func (c *CopyConfig) openSource(ctx context.Context) (copySource, error) {
	if c.From.URL != "" {
		return openPostgresSource(ctx, c)
	}
	return openSQLiteSource(ctx, c)
}

func (c *CopyConfig) openTarget(ctx context.Context) (copyTarget, error) {
	if c.To.URL != "" {
		return openPostgresTarget(ctx, c)
	}
	return openSQLiteTarget(ctx, c)
}

// vacate takes away what the migrations made, if there is nothing else.
func vacate(ctx context.Context, to copyTarget) error {
	var found []string
	for i := range copiedTables {
		t := &copiedTables[i]
		n, err := to.count(ctx, t.countStrange())
		if err != nil {
			return err
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%s (%d)", t.name, n))
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: there are rows in %s", ErrNotEmpty, strings.Join(found, ", "))
	}
	for _, t := range slices.Backward(copiedTables) {
		if t.made == "" {
			continue
		}
		if err := to.exec(ctx, `DELETE FROM `+t.name); err != nil {
			return err
		}
	}
	return nil
}

// copying is a copy under way.
type copying struct {
	from     copySource
	to       copyTarget
	progress func(Progress)
	done     Copied
}

// table copies one table. The checksum is of the rows as they were read, with
// what the target cannot hold replaced as the engine would have done.
func (c *copying) table(ctx context.Context, t *table) error {
	of, err := c.from.count(ctx, t.countAll())
	if err != nil {
		return err
	}
	at := Progress{Table: t.name, Of: of}
	c.progress(at)
	next, stop := iter.Pull2(c.from.rows(ctx, t))
	defer stop()
	var sum checksum
	var unread error // an engine may wrap it in words of its own
	err = c.to.insert(ctx, t, func() ([]any, error) {
		row, err, more := next()
		if err != nil || !more {
			unread = err
			return nil, err
		}
		for i, value := range row {
			if text, is := value.(string); is {
				if kept := c.to.keeps(text); kept != text {
					row[i] = kept
					c.done.Replaced++
				}
			}
		}
		sum.add(row)
		if at.Done++; at.Done%progressEvery == 0 {
			c.progress(at)
		}
		return row, nil
	})
	c.done.Tables = append(c.done.Tables, CopiedTable{Name: t.name, Rows: sum.rows, Checksum: sum.String()})
	if unread != nil {
		return unread
	}
	return err
}

// check reads a table in the target and compares it with what was read in the
// source.
func (c *copying) check(ctx context.Context, t *table, want CopiedTable) error {
	at := Progress{Table: t.name, Of: want.Rows, Checking: true}
	c.progress(at)
	var sum checksum
	for row, err := range c.to.rows(ctx, t) {
		if err != nil {
			return err
		}
		sum.add(row)
		if at.Done++; at.Done%progressEvery == 0 {
			c.progress(at)
		}
	}
	if sum.rows != want.Rows || sum.String() != want.Checksum {
		return fmt.Errorf("the target has %d rows with checksum %s, the source %d with %s; nothing was copied",
			sum.rows, sum.String(), want.Rows, want.Checksum)
	}
	return nil
}

// checkCurrent refuses a source whose schema is another than this program's. To
// bring it up to date would be to change it.
func checkCurrent(applied int, known []migration) error {
	switch {
	case applied == 0:
		return fmt.Errorf("%w: there is no installation", ErrSchema)
	case applied < len(known):
		return fmt.Errorf("%w: it has version %d, and this program copies version %d; bring it up to date first", ErrSchema, applied, len(known))
	}
	return nil
}
