package store

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
)

// A large installation is copied in the memory of a small one.
func TestMillionSessionsAreCopied(t *testing.T) {
	if os.Getenv("COUNTERFOIL_LONG") == "" {
		t.Skip("make verify-long")
	}
	const sessions = 1_000_000
	c := newClock()
	file, database, back := Place{Path: databasePath(t)}, Place{URL: pgtest.Database(t)}, Place{Path: databasePath(t)}
	s := openSQLite(t, file.Path, c.Now)
	model := newSession("diku", alice, c.Now())
	encoded := encodeState(model)
	must(t, s.writer.do(t.Context(), func(t *tx) error {
		err := t.exec(`WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < ?1)
			INSERT INTO sessions SELECT seq, randomblob(16), 'diku', 'user ' || seq % 100000, 'a name', 'folio-web', randomblob(32), x'', 0, 0,
			?2, ?3, '192.0.2.' || seq % 250, ?4, ?5, 0, 0, '', '', '', '', seq % 30 FROM n`,
			sessions, micro(model.CreatedAt), micro(model.AbsoluteExpiry), model.UserAgent, encoded[:])
		if err != nil {
			return err
		}
		return t.exec(`INSERT INTO events SELECT seq, created_at, 'login', tenant, hex(id), user_id, 'user', username, user_id,
			login_address, user_agent, '123456/authn', '', '' FROM sessions`)
	}))
	must(t, s.Close())
	for _, step := range []struct {
		name     string
		from, to Place
	}{{"to PostgreSQL", file, database}, {"back", database, back}} {
		var peak uint64
		began := time.Now()
		_, err := Copy(t.Context(), CopyConfig{From: step.from, To: step.to, Now: c.Now, Progress: func(Progress) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}})
		must(t, err)
		t.Logf("%s: %d sessions and as many events in %s, %d MB of heap", step.name, sessions, time.Since(began).Round(time.Second), peak>>20)
		if peak > 100<<20 {
			t.Error("the rows are gathered instead of passed on")
		}
	}
}
