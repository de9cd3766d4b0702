package store

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
)

// testdata/schema has, for every version of the schema and each engine, the rows
// that the program of that version wrote, and in a text file what is to be read
// of them ever after. They are written once, while the version is the newest:
//
//	go test ./internal/store -run TestSchemaFixturesAreWritten -fixtures
//
// and never edited. Only the text may change, where a newer program reads more.
var writeFixtures = flag.Bool("fixtures", false, "write the fixtures of the newest schema version")

const schemaDir = "testdata/schema"

func fixture(parts ...string) string { return filepath.Join(append([]string{schemaDir}, parts...)...) }

// schemas are the engines as this file needs them: without what they became
// since.
var schemas = map[string]struct {
	known []migration
	// load makes a store of a version with rows, and open opens it.
	load func(t *testing.T, version int, rows string) (open func(now func() time.Time) DB)
	// dump is the rows of a store that is open, as SQL.
	dump func(t *testing.T, now *clock) string
}{
	"sqlite":   {sqliteMigrations, loadSQLite, dumpSQLite},
	"postgres": {postgresMigrations, loadPostgres, dumpPostgres},
}

func TestEveryOldSchemaIsUpgradedWithItsRows(t *testing.T) {
	for engine, schema := range schemas {
		files, err := filepath.Glob(fixture(engine, "*.sql"))
		must(t, err)
		if len(files) == 0 {
			t.Fatalf("%s has no fixture", engine)
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".sql")
			t.Run(engine+" "+name, func(t *testing.T) {
				var version int
				must(t, ignore(fmt.Sscanf(name, "%d", &version)))
				rows, err := os.ReadFile(file)
				must(t, err)
				want, err := os.ReadFile(fixture(name + ".txt"))
				must(t, err)
				c := newClock()
				open := schema.load(t, version, string(rows))
				c.advance(time.Hour)
				db := open(c.Now)
				reached, err := db.SchemaVersion(t.Context())
				must(t, err)
				wantEqual(t, reached, len(schema.known))
				wantEqual(t, strings.Split(inventory(t, db), "\n"), strings.Split(string(want), "\n"))
				goesOn(t, db, c)
			})
		}
	}
}

// goesOn is that a store with a past can be worked with: numbers continue, old
// sessions can be refreshed, what ended stays ended.
func goesOn(t *testing.T, db DB, c *clock) {
	t.Helper()
	before, err := db.Events(t.Context(), session.EventFilter{Limit: 1})
	must(t, err)
	list, err := db.ListSessions(t.Context(), session.Filter{Limit: 1000})
	must(t, err)
	heard := &recorder{}
	db.OnChange(heard.listen)
	for _, old := range list.Sessions {
		must(t, db.UpdateSession(t.Context(), old.ID, func(now time.Time, s *session.Session) session.Effects {
			if !s.RevokedAt.IsZero() {
				return session.Effects{}
			}
			return rotate(now, s)
		}))
		got, err := db.Session(t.Context(), old.ID)
		must(t, err)
		if advanced := got.Gen == old.Gen+1; advanced != old.RevokedAt.IsZero() {
			t.Errorf("generation of %+v is %d", old, got.Gen)
		}
	}
	fresh := newSession("diku", bob, c.Now())
	must(t, db.CreateSession(t.Context(), fresh, 0, audit.Event{Kind: audit.Login, Tenant: "diku", UserID: bob}))
	if fresh.UserEpoch == 0 {
		t.Error("the epoch of the user is forgotten")
	}
	list, err = db.ListSessions(t.Context(), session.Filter{Limit: 1})
	must(t, err)
	wantEqual(t, list.Sessions[0].ID, fresh.ID)
	after, err := db.Events(t.Context(), session.EventFilter{Limit: 1})
	must(t, err)
	wantEqual(t, after[0].Seq, before[0].Seq+1)
	must(t, db.UpdateSession(t.Context(), fresh.ID, revoke))
	if all := heard.take(); len(all) != 1 || all[0].Seq < 10 {
		t.Errorf("the number of changes does not go on: %+v", all)
	}
}

// Whoever changes the schema needs the rows of the version before.
func TestEverySchemaButTheNewestHasFixtures(t *testing.T) {
	for engine, schema := range schemas {
		for version := 1; version < len(schema.known) || version == 1; version++ {
			for _, file := range []string{fixture(engine, fmt.Sprintf("%04d.sql", version)), fixture(fmt.Sprintf("%04d.txt", version))} {
				if _, err := os.Stat(file); err != nil {
					t.Errorf("migration %s cannot be tested: %v; check the version before out and write its fixtures", schema.known[len(schema.known)-1].name, err)
				}
			}
		}
	}
}

// A migration that ran anywhere is what all later ones build on. published.txt
// is as sha256sum writes it, in the directory of the migrations.
func TestPublishedMigrationsAreNeverEdited(t *testing.T) {
	text, err := os.ReadFile(fixture("published.txt"))
	must(t, err)
	published := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("%q is not of sha256sum", line)
		}
		published[name] = sum
	}
	found := 0
	for engine, schema := range schemas {
		for i, m := range schema.known {
			name := engine + "/" + m.name
			if !strings.HasPrefix(m.name, fmt.Sprintf("%04d_", i+1)) {
				t.Errorf("%s is not named after its number %d", name, i+1)
			}
			switch sum, known := published[name]; {
			case !known:
				t.Errorf("%s is not in published.txt; its line is\n%s  %s", name, m.checksum, name)
			case sum != m.checksum:
				t.Errorf("%s was edited after it was published: stores that ran it will be refused. Write a new one", name)
			}
			found++
		}
	}
	if found != len(published) {
		t.Errorf("published.txt has %d migrations and there are %d: none may go", len(published), found)
	}
}

// Both engines are at the same version, so that one number tells of a program.
func TestEnginesHaveTheSameVersions(t *testing.T) {
	var names [2][]string
	for i, dir := range []string{"sqlite", "postgres"} {
		entries, err := fs.ReadDir(migrationFiles, "migrations/"+dir)
		must(t, err)
		for _, e := range entries {
			names[i] = append(names[i], e.Name())
		}
	}
	wantEqual(t, names[0], names[1])
}

func TestFixturesHaveRowsInEveryTable(t *testing.T) {
	for engine, schema := range schemas {
		files, err := filepath.Glob(fixture(engine, "*.sql"))
		must(t, err)
		for _, file := range files {
			var version int
			must(t, ignore(fmt.Sscanf(filepath.Base(file), "%d", &version)))
			rows, err := os.ReadFile(file)
			must(t, err)
			for _, m := range schema.known[:version] {
				for _, rest := range strings.Split(m.sql, "CREATE TABLE ")[1:] {
					name, _, _ := strings.Cut(rest, " ")
					if !strings.Contains(string(rows), "INSERT INTO "+name+" ") {
						t.Errorf("%s has no row in %s", file, name)
					}
				}
			}
		}
	}
}

func TestSchemaFixturesAreWritten(t *testing.T) {
	if !*writeFixtures {
		t.Skip("for a new version of the schema only, with -fixtures")
	}
	text := ""
	for engine, schema := range schemas {
		name := fmt.Sprintf("%04d", len(schema.known))
		must(t, os.MkdirAll(fixture(engine), 0o755))
		c := newClock()
		rows := "-- Rows as the program of version " + name + " wrote them. Never edit.\n" + schema.dump(t, c)
		must(t, os.WriteFile(fixture(engine, name+".sql"), []byte(rows), 0o644))
		read := inventory(t, schema.load(t, len(schema.known), rows)(c.Now))
		if text != "" {
			wantEqual(t, strings.Split(read, "\n"), strings.Split(text, "\n"))
		}
		text = read
		must(t, os.WriteFile(fixture(name+".txt"), []byte(read), 0o644))
	}
}

// withoutMade empties the tables in which migrations make rows.
func withoutMade(b *strings.Builder) {
	for _, t := range copiedTables {
		if t.made != "" {
			fmt.Fprintf(b, "DELETE FROM %s;\n", t.name)
		}
	}
}

// inserts writes statements with literals that an engine has quoted itself.
func inserts(b *strings.Builder, name, between string, columns []string, rows [][]string) {
	for _, row := range rows {
		fmt.Fprintf(b, "INSERT INTO %s (%s)%s VALUES (%s);\n", name, strings.Join(columns, ", "), between, strings.Join(row, ", "))
	}
}

// inCopyOrder puts tables that refer to others after those.
func inCopyOrder(names []string) []string {
	place := func(name string) int {
		return slices.IndexFunc(copiedTables, func(t table) bool { return t.name == name })
	}
	slices.SortStableFunc(names, func(a, b string) int { return place(a) - place(b) })
	return slices.DeleteFunc(names, func(name string) bool { return name == "migrations" })
}

func loadSQLite(t *testing.T, version int, rows string) func(func() time.Time) DB {
	t.Helper()
	path := databasePath(t)
	conn, err := openWriter(path)
	must(t, err)
	must(t, migrate(t.Context(), conn, sqliteMigrations[:version], newClock().Now))
	must(t, sqlitex.ExecuteScript(conn, rows, nil))
	must(t, conn.Close())
	return func(now func() time.Time) DB { return openSQLite(t, path, now) }
}

func dumpSQLite(t *testing.T, c *clock) string {
	t.Helper()
	s := openSQLite(t, databasePath(t), c.Now)
	install(t, s, c)
	var b strings.Builder
	withoutMade(&b)
	must(t, s.read(t.Context(), func(conn *sqlite.Conn) error {
		for _, name := range inCopyOrder(texts(t, conn, `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)) {
			columns := texts(t, conn, `SELECT name FROM pragma_table_info('`+name+`')`)
			var all [][]string
			must(t, rows(conn, `SELECT quote(`+strings.Join(columns, `), quote(`)+`) FROM `+name, func(stmt *sqlite.Stmt) error {
				var row []string
				for i := range columns {
					row = append(row, stmt.ColumnText(i))
				}
				all = append(all, row)
				return nil
			}))
			inserts(&b, name, "", columns, all)
		}
		return nil
	}))
	return b.String()
}

func texts(t *testing.T, conn *sqlite.Conn, query string) (all []string) {
	t.Helper()
	must(t, rows(conn, query, func(stmt *sqlite.Stmt) error { all = append(all, stmt.ColumnText(0)); return nil }))
	return all
}

func loadPostgres(t *testing.T, version int, rows string) func(func() time.Time) DB {
	t.Helper()
	url := pgtest.Database(t)
	conn := postgresConn(t, url)
	must(t, migratePostgres(t.Context(), conn, postgresMigrations[:version]))
	must(t, ignore(conn.Exec(t.Context(), rows, pgx.QueryExecModeSimpleProtocol)))
	return func(now func() time.Time) DB { return openPostgres(t, PostgresConfig{URL: url, turn: turned(now)}) }
}

func postgresConn(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func dumpPostgres(t *testing.T, c *clock) string {
	t.Helper()
	url := pgtest.Database(t)
	install(t, openPostgres(t, PostgresConfig{URL: url, Name: "node-1", turn: turned(c.Now)}), c)
	conn := postgresConn(t, url)
	var b strings.Builder
	withoutMade(&b)
	for _, name := range inCopyOrder(list1(t, conn, `SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1`)) {
		columns := list1(t, conn, `SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position`, name)
		found, err := conn.Query(t.Context(), `SELECT ARRAY[quote_nullable(`+strings.Join(columns, `), quote_nullable(`)+`)] FROM `+name+` ORDER BY 1`)
		must(t, err)
		all, err := pgx.CollectRows(found, pgx.RowTo[[]string])
		must(t, err)
		inserts(&b, name, " OVERRIDING SYSTEM VALUE", columns, all)
	}
	for _, name := range []string{"sessions", "events"} {
		fmt.Fprintf(&b, "SELECT setval(pg_get_serial_sequence('%s', 'seq'), max(seq)) FROM %s;\n", name, name)
	}
	return b.String()
}

func list1(t *testing.T, conn *pgx.Conn, query string, args ...any) []string {
	t.Helper()
	found, err := conn.Query(t.Context(), query, args...)
	must(t, err)
	all, err := pgx.CollectRows(found, pgx.RowTo[string])
	must(t, err)
	return all
}
