package store

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

var markTests = map[string]func(*testing.T, bench, engine){
	"the mark moves on and stays over restarts": func(t *testing.T, b bench, e engine) {
		first, err := b.Advance(t.Context(), session.Mark{})
		must(t, err)
		second, err := b.Advance(t.Context(), first)
		must(t, err)
		again := e.reopen(t, b.DB, b.Now)
		third, err := again.Advance(t.Context(), second)
		must(t, err)
		if !first.Known() || second.N != first.N+1 || third.N != first.N+2 || third.Incarnation != first.Incarnation || !third.At.Equal(kept(b.Now())) {
			t.Errorf("%+v, %+v, %+v", first, second, third)
		}
	},
	"T50: a database behind what is remembered is turned back, and told once": func(t *testing.T, b bench, _ engine) {
		s := b.login(t, alice)
		mark, err := b.Advance(t.Context(), session.Mark{})
		must(t, err)
		remembered := mark
		remembered.N += 100
		_, err = b.Advance(t.Context(), remembered)
		wantError(t, err, session.ErrTurnedBack)
		b.heard.take()
		b.advance(time.Minute)

		after, did, err := b.Restored(as(t.Context()), session.Restoration{Remembered: remembered})
		must(t, err)
		if !did || after.N <= remembered.N+100 || after.Adoption.Epoch != 0 {
			t.Errorf("%v %+v", did, after)
		}
		events, err := b.Events(t.Context(), session.EventFilter{Kind: audit.StoreTurnedBack})
		must(t, err)
		if len(events) != 1 || events[0].Actor != actorAlice || events[0].Detail["remembered"] == "" {
			t.Errorf("%+v", events)
		}
		floor := b.floor(t)
		if floor < after.N || b.login(t, alice).TenantEpoch != floor || s.TenantEpoch >= floor {
			t.Errorf("epoch %d, the mark is %d, the session was of %d", floor, after.N, s.TenantEpoch)
		}
		page, err := b.ListSessions(t.Context(), session.Filter{Tenant: "diku", Live: true})
		must(t, err)
		wantEqual(t, len(page.Sessions), 1)
		if missed := b.heard.kinds(); len(missed) == 0 || missed[0] != session.EpochMoved {
			t.Errorf("heard %v", missed)
		}

		// Another node remembers a little more than the first, and one does less.
		for _, others := range []uint64{remembered.N + 3, remembered.N - 3} {
			_, did, err = b.Restored(t.Context(), session.Restoration{Remembered: session.Mark{Incarnation: mark.Incarnation, N: others}})
			must(t, err)
			wantEqual(t, did, false)
		}
		wantEqual(t, b.floor(t), floor)
	},
	"T50: another database in the place of the one before is turned back, once for all who remember that": func(t *testing.T, b bench, _ engine) {
		former := session.Mark{Incarnation: "another", N: 7}
		_, err := b.Advance(t.Context(), former)
		wantError(t, err, session.ErrTurnedBack)
		_, did, err := b.Restored(t.Context(), session.Restoration{Remembered: former})
		must(t, err)
		wantEqual(t, did, true)
		former.N += 5
		_, did, err = b.Restored(t.Context(), session.Restoration{Remembered: former})
		must(t, err)
		wantEqual(t, did, false)
		own, err := b.Advance(t.Context(), former)
		must(t, err)
		if own.Incarnation == former.Incarnation {
			t.Error("the database took the other's name")
		}
	},
	"epochs of tenants go beyond a restore": func(t *testing.T, b bench, _ engine) {
		_, _, err := b.Restored(t.Context(), session.Restoration{Told: true})
		must(t, err)
		s := b.login(t, alice)
		_, err = b.EndSessions(t.Context(), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.Event{Kind: audit.TenantEnded, Tenant: "diku"})
		must(t, err)
		if next := b.login(t, alice); next.TenantEpoch != s.TenantEpoch+1 {
			t.Errorf("%d after %d", next.TenantEpoch, s.TenantEpoch)
		}
	},
	"a second restore is beyond the first, even if the clock was set back": func(t *testing.T, b bench, _ engine) {
		first, _, err := b.Restored(t.Context(), session.Restoration{Told: true})
		must(t, err)
		epoch := b.floor(t)
		b.advance(-time.Hour)
		second, _, err := b.Restored(t.Context(), session.Restoration{Remembered: first, Told: true})
		must(t, err)
		if second.N <= first.N || b.floor(t) <= epoch {
			t.Errorf("%d after %d, epoch %d after %d", second.N, first.N, b.floor(t), epoch)
		}
	},
	"T50: while sessions may catch up, the old ones live, and those that did or are new outlive the end": func(t *testing.T, b bench, _ engine) {
		late, adopted := b.login(t, alice), b.login(t, alice)
		mark, _, err := b.Restored(t.Context(), session.Restoration{Told: true, AdoptFor: time.Hour})
		must(t, err)
		wantEqual(t, b.floor(t), 0)
		must(t, b.UpdateSession(t.Context(), adopted.ID, func(now time.Time, s *session.Session) session.Effects {
			s.TenantEpoch = mark.Adoption.Epoch
			return rotate(now, s)
		}))
		fresh := b.login(t, alice)
		wantEqual(t, b.session(t, adopted.ID).TenantEpoch, mark.Adoption.Epoch)
		wantEqual(t, fresh.TenantEpoch, mark.Adoption.Epoch)
		live := func() map[string]bool {
			page, err := b.ListSessions(t.Context(), session.Filter{Tenant: "diku", Live: true})
			must(t, err)
			ids := make(map[string]bool)
			for _, s := range page.Sessions {
				ids[s.ID.String()] = true
			}
			return ids
		}
		wantEqual(t, len(live()), 3)
		b.advance(time.Hour - time.Second)
		mark, err = b.Advance(t.Context(), mark)
		must(t, err)
		wantEqual(t, len(live()), 3)
		b.advance(time.Second)
		mark, err = b.Advance(t.Context(), mark)
		must(t, err)
		wantEqual(t, mark.Adoption, session.Adoption{})
		wantEqual(t, live(), map[string]bool{adopted.ID.String(): true, fresh.ID.String(): true})
		if live()[late.ID.String()] || b.floor(t) == 0 {
			t.Error("the late one lives")
		}
		events, err := b.Events(t.Context(), session.EventFilter{Kind: audit.AdoptionEnded})
		must(t, err)
		wantEqual(t, len(events), 1)
	},
	"the end of a tenant reaches who caught up": func(t *testing.T, b bench, _ engine) {
		_, _, err := b.Restored(t.Context(), session.Restoration{Told: true, AdoptFor: time.Hour})
		must(t, err)
		b.login(t, alice)
		_, err = b.EndSessions(t.Context(), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.Event{Kind: audit.TenantEnded, Tenant: "diku"})
		must(t, err)
		page, err := b.ListSessions(t.Context(), session.Filter{Tenant: "diku", Live: true})
		must(t, err)
		wantEqual(t, len(page.Sessions), 0)
	},
	"an epoch of a session never goes back": func(t *testing.T, b bench, _ engine) {
		_, err := b.EndSessions(t.Context(), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.Event{Kind: audit.TenantEnded, Tenant: "diku"})
		must(t, err)
		err = b.UpdateSession(t.Context(), b.login(t, alice).ID, func(now time.Time, s *session.Session) session.Effects {
			s.TenantEpoch--
			return rotate(now, s)
		})
		if !errors.Is(err, errMisuse) {
			t.Errorf("%v", err)
		}
	},
}

// floor is the epoch of all tenants.
func (b bench) floor(t *testing.T) uint64 {
	t.Helper()
	all, err := b.Epochs(t.Context(), b.Now())
	must(t, err)
	if len(all) == 0 || all[0].Tenant != "" {
		return 0
	}
	return all[0].Epoch
}

func TestDurabilityTellsWhatMayBeLost(t *testing.T) {
	for _, c := range []struct {
		fsync, pages, commit, standbys string
		following                      int
		risky                          string
	}{
		{"on", "on", "on", "", 0, ""},
		{"on", "on", "on", "ANY 1 (a, b)", 2, ""},
		{"on", "on", "remote_apply", "a", 1, ""},
		{"on", "on", "on", "", 1, "synchronous_standby_names"},
		{"off", "on", "on", "", 0, "fsync"},
		{"on", "off", "on", "", 0, "full_page_writes"},
		{"on", "on", "off", "", 0, "synchronous_commit"},
		{"on", "on", "local", "a", 1, "synchronous_commit"},
	} {
		for _, one := range durability(c.fsync, c.pages, c.commit, c.standbys, c.following) {
			if (one.Risk != "") != (one.Name == c.risky) {
				t.Errorf("%+v: %+v", c, one)
			}
		}
	}
}

func TestDurabilityIsReadFromTheDatabase(t *testing.T) {
	p := onPostgres(false).open(t, newClock().Now).(*Postgres)
	all, err := p.Durability(t.Context())
	must(t, err)
	for _, one := range all {
		if one.Risk != "" {
			t.Errorf("%+v", one)
		}
	}
	if p.place == "" {
		t.Error("the tests' own server does not tell where it is")
	}
}

// A program goes on writing to a file that has no name any more.
func TestT50DatabaseFileThatWasReplacedIsNoticed(t *testing.T) {
	path := databasePath(t)
	s := openSQLite(t, path, newClock().Now)
	_, err := s.Advance(t.Context(), session.Mark{})
	must(t, err)
	other := openSQLite(t, databasePath(t), newClock().Now)
	must(t, other.Checkpoint(t.Context()))
	replaceFile(t, other.path, path)
	_, err = s.Advance(t.Context(), session.Mark{})
	wantError(t, err, session.ErrReplaced)
	_, _, err = s.Restored(t.Context(), session.Restoration{Told: true})
	wantError(t, err, session.ErrReplaced)
}

// replaceFile puts a copy in the place of a file, as an operator would.
func replaceFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to+".restored", text, 0o600))
	must(t, os.Rename(to+".restored", to))
}
