package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// listenTarget is where to listen: past the pooler, which would give the
// connection to somebody else. It is nil where that is not known.
func (f *feed) listenTarget(base *pgx.ConnConfig) *pgx.ConnConfig {
	c := f.p.config
	if c.Listen == "" {
		if c.Pooled {
			return nil
		}
		return base
	}
	target, err := pgx.ParseConfig(c.Listen)
	if err != nil {
		f.p.log.Error("the URL to listen at cannot be read, the node asks instead")
		return nil
	}
	prepare(target, false)
	return target
}

// listen is woken by the database when there are changes, and listens again when
// its connection is lost. In between the node asks.
func (f *feed) listen(ctx context.Context, target *pgx.ConnConfig) {
	for ctx.Err() == nil {
		f.hear(ctx, target)
		f.listening.Store(false)
		f.wakeUp()
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// hear listens until the connection is lost.
func (f *feed) hear(ctx context.Context, target *pgx.ConnConfig) {
	conn, err := pgx.ConnectConfig(ctx, target)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		return
	}
	f.listening.Store(true)
	f.wakeUp() // for what came while nobody listened
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
		f.wakeUp()
	}
}

func (f *feed) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// close ends the feed and takes the node off the list, so that nobody waits for
// it.
func (f *feed) close() {
	f.stop()
	f.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// If it fails, the others stop waiting in a few seconds.
	_, _ = f.p.urgent.Exec(ctx, `DELETE FROM nodes WHERE id = $1`, f.id)
}
