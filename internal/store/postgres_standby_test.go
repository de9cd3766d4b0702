package store

import (
	"errors"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Threat: a commit that waits for the standby is given up, which makes it visible
// on the primary. Who asks again finds it done and must not be told so before the
// standby has it, or the failover undoes what was acknowledged. It holds because
// whoever looks at a session locks its row, so that his own commit waits, too.
func TestWhatTheStandbyDoesNotHaveIsNotAcknowledged(t *testing.T) {
	pair := pgtest.NewPair(t)
	p := openPostgres(t, PostgresConfig{URL: pair.URL()})
	ctx := t.Context()
	must(t, p.CreateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantCreated, Tenant: "diku"}))
	must(t, p.CreateUser(ctx, directory.User{ID: alice, Tenant: "diku", Username: "alice", Active: true}, directory.Grants{}, "", audit.Event{Kind: audit.UserCreated}))
	s := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(ctx, s, 0))
	wake := pair.StopStandby()
	defer wake()
	for n := range 2 {
		if err := p.UpdateSession(ctx, s.ID, revoke); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("attempt %d while the standby sleeps is answered %v", n+1, err)
		}
	}
	wake()
	for err := error(session.ErrUnavailable); errors.Is(err, session.ErrUnavailable); {
		err = p.UpdateSession(ctx, s.ID, revoke)
		must(t, notUnavailable(err))
	}
	pair.Kill()
	must(t, pair.Promote())
	row, err := openPostgres(t, PostgresConfig{URL: pair.URL()}).Session(ctx, s.ID)
	must(t, err)
	if row.RevokedAt.IsZero() {
		t.Error("an acknowledged revocation was undone by the failover")
	}
}

func notUnavailable(err error) error {
	if errors.Is(err, session.ErrUnavailable) {
		return nil
	}
	return err
}
