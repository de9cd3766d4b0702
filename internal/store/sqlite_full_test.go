package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// fill logs in until the store is full and returns those who were told that
// they are logged in.
func fill(t *testing.T, s *SQLite, now func() time.Time) []*session.Session {
	t.Helper()
	var mu sync.Mutex
	var acknowledged []*session.Session
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 5000 {
				one := newSession("diku", alice, now())
				e := audit.Event{Kind: audit.Login, Tenant: "diku", Session: one.ID.String()}
				if err := s.CreateSession(context.Background(), one, 0, e); err != nil {
					if !errors.Is(err, session.ErrUnavailable) {
						t.Errorf("a full disk is %v", err)
					}
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, one)
				mu.Unlock()
			}
			t.Error("the disk is never full")
		})
	}
	group.Wait()
	return acknowledged
}

// allThere checks that every acknowledged login is stored with its event, and
// nothing else is.
func allThere(t *testing.T, s *SQLite, acknowledged []*session.Session) {
	t.Helper()
	for _, one := range acknowledged {
		if _, err := s.Session(t.Context(), one.ID); err != nil {
			t.Fatalf("an acknowledged login: %v", err)
		}
	}
	for _, table := range []string{"sessions", "events"} {
		n, err := one(t.Context(), s, "count", `SELECT count(*) FROM `+table, func(stmt *sqlite.Stmt) (int64, error) {
			return stmt.ColumnInt64(0), nil
		})
		must(t, err)
		wantEqual(t, n, int64(len(acknowledged)))
	}
	var check string
	must(t, s.writer.submit(t.Context(), func(t *tx) error {
		return rows(t.conn, `PRAGMA integrity_check`, func(stmt *sqlite.Stmt) error { check = stmt.ColumnText(0); return nil })
	}, true))
	wantEqual(t, check, "ok")
}

func TestFullStoreLosesNothingAndWorksAgain(t *testing.T) {
	c := newClock()
	s := openSQLite(t, databasePath(t), c.Now)
	limit := func(pages int64) {
		must(t, s.writer.submit(t.Context(), func(t *tx) error {
			_, err := t.number(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
			return err
		}, true))
	}
	limit(s.pages(t) + 50)
	acknowledged := fill(t, s, c.Now)
	if len(acknowledged) == 0 {
		t.Fatal("nobody could log in")
	}
	wantError(t, s.AppendEvents(t.Context(), manyEvents(5000)...), session.ErrUnavailable)
	// Refreshes overwrite rows in their place and go on.
	must(t, s.UpdateSession(t.Context(), acknowledged[0].ID, rotate))
	limit(1 << 20)
	again := newSession("diku", alice, c.Now())
	must(t, s.CreateSession(t.Context(), again, 0, audit.Event{Kind: audit.Login}))
	allThere(t, s, append(acknowledged, again))
}

func manyEvents(n int) []audit.Event {
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = audit.Event{Kind: "filler", Reason: strings.Repeat("x", 200)}
	}
	return events
}

// The same with writes that the operating system refuses: a process of its own
// whose files may not grow beyond a size, since the limit is the process's.
func TestFullDiskLosesNothingAndWorksAgain(t *testing.T) {
	if path := os.Getenv("COUNTERFOIL_TEST_FULL_DISK"); path != "" {
		fullDisk(t, path)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), "COUNTERFOIL_TEST_FULL_DISK="+filepath.Join(t.TempDir(), "counterfoil.db"))
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fullDisk(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ) // so that writes fail instead
	c := newClock()
	s := openSQLite(t, path, c.Now)
	var old syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	full := syscall.Rlimit{Cur: 1 << 20, Max: old.Max}
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full))
	acknowledged := fill(t, s, c.Now)
	if len(acknowledged) == 0 {
		t.Fatal("nobody could log in")
	}
	// What is smaller than a login may still find room.
	want := uint64(2)
	if err := s.UpdateSession(t.Context(), acknowledged[0].ID, rotate); err != nil {
		wantError(t, err, session.ErrUnavailable)
		want = 1
	}
	got, err := s.Session(t.Context(), acknowledged[0].ID)
	must(t, err)
	wantEqual(t, got.Gen, want)
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	must(t, s.UpdateSession(t.Context(), acknowledged[0].ID, rotate))
	allThere(t, s, acknowledged)
	must(t, s.Close())
	allThere(t, openSQLite(t, path, c.Now), acknowledged)
}
