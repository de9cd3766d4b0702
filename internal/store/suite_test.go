package store

import (
	"os"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// engine is one way to keep things that the suite demands the same of.
type engine struct {
	// open returns a fresh store, closed at the end of the test.
	open func(t testing.TB, now func() time.Time) DB
	// reopen closes a store and opens it again.
	reopen func(t testing.TB, db DB, now func() time.Time) DB
}

func TestSQLite(t *testing.T) { suite(t, onSQLite()) }

func onSQLite() engine {
	paths := make(map[DB]string)
	return engine{
		open: func(t testing.TB, now func() time.Time) DB {
			path := databasePath(t)
			s := openSQLite(t, path, now)
			paths[s] = path
			return s
		},
		reopen: func(t testing.TB, db DB, now func() time.Time) DB {
			must(t, db.Close())
			return openSQLite(t, paths[db], now)
		},
	}
}

func TestPostgres(t *testing.T) { suite(t, onPostgres(false)) }

// The same in the simple protocol and with nobody listening, and then through a
// pooler in transaction mode.
func TestPostgresSimple(t *testing.T) { suite(t, onPostgres(true)) }

func TestPostgresThroughAPooler(t *testing.T) {
	e := onPostgres(true)
	urls := make(map[DB]string)
	open := func(t testing.TB, url string, now func() time.Time) DB {
		p := openPostgres(t, PostgresConfig{URL: url, turn: turned(now)})
		urls[p] = url
		return p
	}
	e.open = func(t testing.TB, now func() time.Time) DB {
		return open(t, pgtest.Pooled(t, pgtest.Reused(t, emptied)), now)
	}
	e.reopen = func(t testing.TB, db DB, now func() time.Time) DB {
		must(t, db.Close())
		return open(t, urls[db], now)
	}
	suite(t, e)
}

func onPostgres(pooled bool) engine {
	urls := make(map[DB]string)
	open := func(t testing.TB, url string, now func() time.Time) DB {
		p := openPostgres(t, PostgresConfig{URL: url, Pooled: pooled, turn: turned(now)})
		urls[p] = url
		return p
	}
	return engine{
		open: func(t testing.TB, now func() time.Time) DB { return open(t, pgtest.Reused(t, emptied), now) },
		reopen: func(t testing.TB, db DB, now func() time.Time) DB {
			must(t, db.Close())
			return open(t, urls[db], now)
		},
	}
}

// emptied brings a database back to what the migrations made.
const emptied = `DELETE FROM sessions; DELETE FROM events; DELETE FROM changes; DELETE FROM nodes; DELETE FROM keys;
	DELETE FROM epochs; DELETE FROM instances; DELETE FROM enabled_modules; DELETE FROM modules;
	DELETE FROM api_keys; DELETE FROM event_chain; DELETE FROM event_checkpoints; DELETE FROM event_sinks;
	DELETE FROM event_dead_letters; DELETE FROM usage; DELETE FROM spent; DELETE FROM tenants; UPDATE feed SET seq = 0; DELETE FROM marks WHERE NOT own; UPDATE marks SET n = 1, at = 0;
	UPDATE adoption SET epoch = 0, since = 0, until = 0;
	INSERT INTO tenants VALUES ('supertenant', 'supertenant', 'owns the gateway itself', 0)`

// turned makes the database's clock the test's.
func turned(now func() time.Time) func(time.Time) time.Time {
	return func(time.Time) time.Time { return now() }
}

func openPostgres(t testing.TB, c PostgresConfig) *Postgres {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	p, err := OpenPostgres(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// suite is what every engine must do. Each test gets a store of its own.
func suite(t *testing.T, e engine) {
	for _, part := range []map[string]func(*testing.T, bench, engine){
		sessionTests, endingTests, listTests, feedTests, clusterTests, groupTests, accountTests, passwordTests, directoryTests, recordTests, markTests,
		apiKeyTests, movingTests, trailTests, usageTests, deviceTests, clientTests, spentTests,
	} {
		for name, test := range part {
			t.Run(name, func(t *testing.T) { test(t, newBench(t, e), e) })
		}
	}
}
