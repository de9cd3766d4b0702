package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
)

// installedSQLite is the file of an installation that nothing runs on.
func installedSQLite(t *testing.T, c *clock) Place {
	t.Helper()
	at := Place{Path: databasePath(t)}
	s := openSQLite(t, at.Path, c.Now)
	install(t, s, c)
	must(t, s.Close())
	return at
}

// openAt opens what is at a place.
func openAt(t *testing.T, at Place, c *clock) DB {
	t.Helper()
	if at.URL != "" {
		return openPostgres(t, PostgresConfig{URL: at.URL, Pooled: at.Pooled, turn: turned(c.Now)})
	}
	return openSQLite(t, at.Path, c.Now)
}

// inventoryAt is what can be read at a place. Nothing is open there afterwards.
func inventoryAt(t *testing.T, at Place, c *clock) []string {
	t.Helper()
	db := openAt(t, at, c)
	defer db.Close()
	return strings.Split(inventory(t, db), "\n")
}

func copyAll(t *testing.T, c *clock, from, to Place) *Copied {
	t.Helper()
	copied, err := Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now})
	must(t, err)
	return copied
}

func TestCopyThereAndBack(t *testing.T) {
	c := newClock()
	start := installedSQLite(t, c)
	want := inventoryAt(t, start, c)
	var first *Copied
	at := start
	for _, next := range []Place{
		{URL: pgtest.Database(t)}, {URL: pgtest.Database(t), Pooled: true}, {Path: databasePath(t)}, {Path: databasePath(t)}, {URL: pgtest.Database(t)},
	} {
		copied := copyAll(t, c, at, next)
		if first == nil {
			first = copied
		}
		wantEqual(t, copied, first) // the checksums, too
		wantEqual(t, inventoryAt(t, next, c), want)
		at = next
	}
	for _, one := range first.Tables {
		if one.Rows == 0 {
			t.Errorf("nothing was in %s", one.Name)
		}
	}
	goesOn(t, openAt(t, at, c), c)
	back := Place{Path: databasePath(t)}
	copyAll(t, c, start, back)
	goesOn(t, openAt(t, back, c), c)
}

// Only what the target cannot hold is changed, in the way of its engine.
func TestCopyReplacesWhatPostgresCannotHold(t *testing.T) {
	c := newClock()
	from, to := Place{Path: databasePath(t)}, Place{URL: pgtest.Database(t)}
	s := openSQLite(t, from.Path, c.Now)
	must(t, s.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku", Reason: "a\x00b\xffc", Actor: audit.Actor{Kind: "user", UserAgent: "\xc3("}}))
	must(t, s.Close())
	copied := copyAll(t, c, from, to)
	wantEqual(t, copied.Replaced, 2)
	events, err := openAt(t, to, c).Events(t.Context(), session.EventFilter{})
	must(t, err)
	wantEqual(t, events[0].Reason, "a\ufffdb\ufffdc")
	wantEqual(t, events[0].Actor.UserAgent, "\ufffd(")
	// Another file takes it as it is.
	again := Place{Path: databasePath(t)}
	wantEqual(t, copyAll(t, c, from, again).Replaced, 0)
	events, err = openAt(t, again, c).Events(t.Context(), session.EventFilter{})
	must(t, err)
	wantEqual(t, events[0].Reason, "a\x00b\xffc")
}

// A column that is forgotten would be lost silently, or fail for want of a value.
func TestCopyKnowsEveryColumn(t *testing.T) {
	want := make(map[string][]string)
	for i := range copiedTables {
		want[copiedTables[i].name] = slices.Sorted(slices.Values(copiedTables[i].names()))
	}
	t.Run("sqlite", func(t *testing.T) {
		got := make(map[string][]string)
		must(t, openSQLite(t, databasePath(t), time.Now).read(t.Context(), func(conn *sqlite.Conn) error {
			for _, name := range inCopyOrder(texts(t, conn, `SELECT name FROM sqlite_schema WHERE type = 'table'`)) {
				got[name] = texts(t, conn, `SELECT name FROM pragma_table_info('`+name+`') ORDER BY 1`)
			}
			return nil
		}))
		wantEqual(t, got, want)
	})
	t.Run("postgres", func(t *testing.T) {
		url := pgtest.Database(t)
		must(t, openPostgres(t, PostgresConfig{URL: url}).Close())
		conn := postgresConn(t, url)
		got := make(map[string][]string)
		for _, name := range inCopyOrder(list1(t, conn, `SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'`)) {
			if name != "nodes" && name != "changes" { // what nodes tell each other
				got[name] = list1(t, conn, `SELECT column_name::text COLLATE "C" FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 ORDER BY 1`, name)
			}
		}
		wantEqual(t, got, want)
	})
}

func TestCopyRefusesATargetThatIsNotEmpty(t *testing.T) {
	c := newClock()
	from := installedSQLite(t, c)
	for name, to := range map[string]Place{"sqlite": {Path: databasePath(t)}, "postgres": {URL: pgtest.Database(t)}} {
		t.Run(name, func(t *testing.T) {
			db := openAt(t, to, c)
			must(t, db.SaveKeys(t.Context(), someKeys()))
			must(t, db.Close())
			before := inventoryAt(t, to, c)
			_, err := Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now})
			wantError(t, err, ErrNotEmpty)
			for _, part := range []string{"keys (3)", "events (3)", "feed (1)"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s is not in %q", part, err)
				}
			}
			wantEqual(t, inventoryAt(t, to, c), before)
		})
	}
}

func TestCopyRefusesSourcesThatAreNone(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	garbage, empty := filepath.Join(dir, "garbage"), filepath.Join(dir, "empty")
	must(t, os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600))
	must(t, os.WriteFile(empty, nil, 0o600))
	nobody := strings.Replace(pgtest.Database(t), "postgres@", "nobody@", 1)
	for name, from := range map[string]Place{
		"no file": {Path: filepath.Join(dir, "none")}, "no directory": {Path: filepath.Join(dir, "none", "none")},
		"garbage": {Path: garbage}, "empty file": {Path: empty}, "empty database": {URL: pgtest.Database(t)},
		"not a URL": {URL: "postgres://a:secret@b:port"}, "unknown user": {URL: nobody},
	} {
		to := Place{Path: filepath.Join(dir, "target")}
		_, err := Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now})
		if err == nil || !strings.HasPrefix(err.Error(), "source: ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(to.Path); err == nil {
			t.Errorf("%s: a target was made", name)
		}
	}
}

// What is copied is what this program knows; the source is not brought up to
// date by the way.
func TestCopyRefusesASourceOfAnotherSchema(t *testing.T) {
	known := []migration{newMigration("0001_one.sql", ""), newMigration("0002_two.sql", "")}
	for applied, ok := range map[int]bool{0: false, 1: false, 2: true} {
		if err := checkCurrent(applied, known); (err == nil) != ok || !ok && !errors.Is(err, ErrSchema) {
			t.Errorf("%d of 2: %v", applied, err)
		}
	}
}

func TestCopyRefusesASourceInUse(t *testing.T) {
	c := newClock()
	for name, from := range map[string]Place{"sqlite": {Path: databasePath(t)}, "postgres": {URL: pgtest.Database(t)}} {
		t.Run(name, func(t *testing.T) {
			db := openAt(t, from, c)
			if from.URL != "" {
				// Nodes report by the database's own clock.
				must(t, db.Close())
				db = openPostgres(t, PostgresConfig{URL: from.URL, Name: "circulation desk"})
			}
			install(t, db, c)
			to := Place{Path: databasePath(t)}
			_, err := Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now})
			wantError(t, err, ErrLocked)
			if from.URL != "" && !strings.Contains(err.Error(), "circulation desk (") {
				t.Errorf("the node is not named: %v", err)
			}
			if _, err := os.Stat(to.Path); err == nil {
				t.Error("a target was made")
			}
			// A rehearsal disturbs nobody and is what was there when it began.
			want := strings.Split(inventory(t, db), "\n")
			_, err = Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now, Force: true, Progress: func(at Progress) {
				if at.Table == "sessions" && !at.Checking {
					must(t, db.AppendEvents(t.Context(), audit.Event{Kind: audit.Login, Tenant: "diku"}))
				}
			}})
			must(t, err)
			wantEqual(t, inventoryAt(t, to, c), want)
		})
	}
}

// While a copy runs, nothing can begin to work at either end.
func TestNoProgramStartsDuringACopy(t *testing.T) {
	c := newClock()
	file := installedSQLite(t, c)
	database := Place{URL: pgtest.Database(t)}
	copyAll(t, c, file, database)
	for name, ends := range map[string][2]Place{
		"to postgres": {file, {URL: pgtest.Database(t)}}, "to sqlite": {database, {Path: databasePath(t)}},
	} {
		t.Run(name, func(t *testing.T) {
			tried := false
			_, err := Copy(t.Context(), CopyConfig{From: ends[0], To: ends[1], Now: c.Now, Progress: func(at Progress) {
				if at.Table != "events" || at.Checking {
					return
				}
				tried = true
				for _, end := range ends {
					var db DB
					var err error
					want := ErrLocked
					if end.URL != "" {
						db, err = OpenPostgres(context.Background(), PostgresConfig{URL: end.URL, Now: c.Now})
						want = session.ErrUnavailable
					} else {
						db, err = Open(context.Background(), Config{Path: end.Path, Now: c.Now})
					}
					if !errors.Is(err, want) {
						t.Errorf("opened during a copy: %v, %v", db, err)
					}
				}
			}})
			must(t, err)
			if !tried {
				t.Error("nothing was tried")
			}
		})
	}
}

// moments are at the beginning, in the middle and at the end of copying, and of
// comparing.
var moments = []Progress{
	{Table: "tenants"}, {Table: "events"}, {Table: "feed"}, {Table: "tenants", Checking: true}, {Table: "feed", Checking: true},
}

// then runs do when a copy comes to a moment.
func (m Progress) then(do func()) func(Progress) {
	return func(p Progress) {
		if p.Table == m.Table && p.Checking == m.Checking && p.Done == 0 {
			do()
		}
	}
}

// Whatever a copy is at when it ends, the target is as it was.
func TestInterruptedCopyLeavesNothing(t *testing.T) {
	c := newClock()
	file := installedSQLite(t, c)
	want := inventoryAt(t, file, c)
	for name, to := range map[string]Place{"sqlite": {Path: databasePath(t)}, "postgres": {URL: pgtest.Database(t)}} {
		t.Run(name, func(t *testing.T) {
			for _, moment := range moments {
				ctx, cancel := context.WithCancel(t.Context())
				_, err := Copy(ctx, CopyConfig{From: file, To: to, Now: c.Now, Progress: moment.then(cancel)})
				wantError(t, err, context.Canceled)
			}
			copyAll(t, c, file, to)
			wantEqual(t, inventoryAt(t, to, c), want)
		})
	}
}

// A copy of the files at any moment is what a killed process leaves.
func TestKilledCopyLeavesAnEmptyFile(t *testing.T) {
	c := newClock()
	from, to := installedSQLite(t, c), Place{Path: databasePath(t)}
	want := inventoryAt(t, from, c)
	var left []Place
	keep := func() {
		at := Place{Path: databasePath(t)}
		for _, suffix := range []string{"", "-wal"} {
			text, err := os.ReadFile(to.Path + suffix)
			must(t, err)
			must(t, os.WriteFile(at.Path+suffix, text, 0o600))
		}
		left = append(left, at)
	}
	_, err := Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now, Progress: func(p Progress) {
		for _, moment := range moments {
			moment.then(keep)(p)
		}
	}})
	must(t, err)
	wantEqual(t, len(left), len(moments))
	for _, at := range left {
		copyAll(t, c, from, at)
		wantEqual(t, inventoryAt(t, at, c), want)
	}
}

// To the server, a killed process is a connection that is gone.
func TestKilledCopyLeavesAnEmptyDatabase(t *testing.T) {
	c := newClock()
	from, to := installedSQLite(t, c), Place{URL: pgtest.Database(t)}
	const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
	for _, moment := range moments {
		_, err := Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now, Progress: moment.then(func() { pgtest.Exec(t, to.URL, kill) })})
		wantError(t, err, session.ErrUnavailable)
		wantEqual(t, pgtest.Value[int](t, to.URL, `SELECT count(*) FROM sessions`), 0)
	}
	copyAll(t, c, from, to)
}

// A target that does not keep what it was given is found out before anything is
// committed.
func TestCopyComparesBeforeItCommits(t *testing.T) {
	c := newClock()
	from, to := installedSQLite(t, c), Place{URL: pgtest.Database(t)}
	must(t, openAt(t, to, c).Close())
	for name, body := range map[string]string{
		"altered": `NEW.state = overlay(NEW.state PLACING '\xff'::bytea FROM 9); RETURN NEW`,
		"lost":    `IF NEW.seq = 3 THEN RETURN NULL; END IF; RETURN NEW`,
	} {
		pgtest.Exec(t, to.URL, `CREATE OR REPLACE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN `+strings.ReplaceAll(body, "'", "''")+`; END'`)
		pgtest.Exec(t, to.URL, `CREATE OR REPLACE TRIGGER spoil BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION spoil()`)
		_, err := Copy(t.Context(), CopyConfig{From: from, To: to, Now: c.Now})
		if err == nil || !strings.Contains(err.Error(), "nothing was copied") {
			t.Errorf("%s: %v", name, err)
		}
		wantEqual(t, pgtest.Value[int](t, to.URL, `SELECT count(*) FROM users`), 0)
	}
}

// A target that fails leaves the source in the middle of a table.
func TestCopyLeavesATableHalfRead(t *testing.T) {
	c := newClock()
	file, database := installedSQLite(t, c), Place{URL: pgtest.Database(t)}
	copyAll(t, c, file, database)
	for name, from := range map[string]Place{"sqlite": file, "postgres": database} {
		config := CopyConfig{From: from, Now: c.Now}
		source, err := config.openSource(t.Context())
		must(t, err)
		defer source.close()
		for range 2 {
			n := 0
			for row, err := range source.rows(t.Context(), &copiedTables[1]) {
				must(t, err)
				wantEqual(t, row[0], any("diku"))
				n++
				break
			}
			if left, err := source.count(t.Context(), copiedTables[1].countAll()); err != nil || left != 2 || n != 1 {
				t.Errorf("%s: %d of %d, %v", name, n, left, err)
			}
		}
	}
}

func TestProgressCountsRows(t *testing.T) {
	c := newClock()
	from := Place{Path: databasePath(t)}
	s := openSQLite(t, from.Path, c.Now)
	must(t, s.writer.do(t.Context(), func(t *tx) error {
		return t.exec(`WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 50500)
			INSERT INTO events SELECT seq, 0, 'login', 'diku', '', '', '', '', '', '', '', '', '', '' FROM n`)
	}))
	must(t, s.Close())
	var heard []string
	_, err := Copy(t.Context(), CopyConfig{From: from, To: Place{Path: databasePath(t)}, Now: c.Now, Progress: func(at Progress) {
		if at.Done > 0 {
			heard = append(heard, fmt.Sprintf("%+v", at))
		}
	}})
	must(t, err)
	wantEqual(t, heard, []string{"{Table:events Done:50000 Of:50500 Checking:false}", "{Table:events Done:50000 Of:50500 Checking:true}"})
}
