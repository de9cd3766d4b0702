package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

var apiKeyTests = map[string]func(*testing.T, bench, engine){
	"api keys are kept as they are":                  keepAPIKeys,
	"a secret opens one key":                         oneSecretOneKey,
	"a change of an API key that fails is none":      failAPIKeyChange,
	"nodes begin one session for an API key":         beginKeySessionOnce,
	"the next session of an API key takes its place": replaceKeySession,
	"API keys go with their user":                    loseAPIKeysWithUser,
	"an API key is deleted only when revoked":        deleteRevokedAPIKey,
}

var keyEvent1 = audit.Event{Kind: audit.APIKeyCreated, Tenant: "diku", UserID: alice}

func (b bench) apiKey(t *testing.T, n byte) apikey.Key {
	t.Helper()
	k := someAPIKey(n, b.Now())
	must(t, b.CreateAPIKey(as(t.Context()), k, keyEvent1))
	return k
}

func (b bench) onlyAPIKey(t *testing.T) apikey.Key {
	t.Helper()
	all, err := b.APIKeys(t.Context())
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("%d keys", len(all))
	}
	return all[0]
}

func wantChange(t *testing.T, b bench, kind session.ChangeKind) {
	t.Helper()
	for _, c := range b.heard.take() {
		if c.Kind == kind {
			return
		}
	}
	t.Errorf("nobody heard of a change of %s", kind)
}

func keepAPIKeys(t *testing.T, b bench, e engine) {
	k := b.apiKey(t, 1)
	wantChange(t, b, session.APIKeysChanged)
	got, err := b.UpdateAPIKey(as(t.Context()), k.ID, func(k *apikey.Key) error {
		k.Rotate(apikey.Hash{9}, kept(b.Now()), time.Hour)
		k.StoppedAt = kept(b.Now())
		return nil
	}, audit.Event{Kind: audit.APIKeyRotated})
	must(t, err)
	wantChange(t, b, session.APIKeysChanged)
	b.DB = e.reopen(t, b.DB, b.clock.Now)
	wantEqual(t, b.onlyAPIKey(t), got)
	if got.Hash != (apikey.Hash{9}) || got.OldHash != k.Hash || got.Session != "" {
		t.Errorf("%+v", got)
	}
	if events := b.events(t, audit.APIKeyRotated); len(events) != 1 || events[0].UserID != alice {
		t.Errorf("%+v", events)
	}
}

func oneSecretOneKey(t *testing.T, b bench, _ engine) {
	k := b.apiKey(t, 1)
	twin := someAPIKey(2, b.Now())
	twin.Hash = k.Hash
	if err := b.CreateAPIKey(t.Context(), twin, keyEvent1); !errors.Is(err, directory.ErrExists) {
		t.Errorf("the same secret: %v", err)
	}
	must(t, ignore(b.UpdateAPIKey(t.Context(), k.ID, func(k *apikey.Key) error { k.Rotate(apikey.Hash{9}, b.Now(), time.Hour); return nil }, keyEvent1)))
	if err := b.CreateAPIKey(t.Context(), twin, keyEvent1); !errors.Is(err, directory.ErrExists) {
		t.Errorf("a secret that still holds: %v", err)
	}
	lost := someAPIKey(3, b.Now())
	lost.Tenant = "nobody"
	if err := b.CreateAPIKey(t.Context(), lost, keyEvent1); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("no tenant: %v", err)
	}
}

func failAPIKeyChange(t *testing.T, b bench, _ engine) {
	k := b.apiKey(t, 1)
	b.heard.take()
	refused := fmt.Errorf("%w: refused", session.ErrInvalid)
	_, err := b.UpdateAPIKey(t.Context(), k.ID, func(k *apikey.Key) error { k.RevokedAt = b.Now(); return refused }, audit.Event{Kind: audit.APIKeyRevoked, Tenant: "diku"})
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	wantEqual(t, b.onlyAPIKey(t), k)
	if len(b.events(t, audit.APIKeyRevoked)) != 0 || len(b.heard.take()) != 0 {
		t.Error("what did not happen was told")
	}
	if _, err := b.UpdateAPIKey(t.Context(), "nobody's", func(*apikey.Key) error { return nil }, keyEvent1); !errors.Is(err, session.ErrNotFound) {
		t.Error(err)
	}
}

func beginKeySessionOnce(t *testing.T, b bench, _ engine) {
	k := b.apiKey(t, 1)
	var all sync.WaitGroup
	ids := make([]token.SessionID, 20)
	for i := range ids {
		all.Go(func() {
			s := newSession("diku", alice, b.Now())
			var err error
			if ids[i], err = b.BeginKeySession(t.Context(), k.ID, "", s, audit.Event{Kind: audit.Login, Tenant: "diku", UserID: alice}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id.IsZero() {
			t.Errorf("%s and %s", id, ids[0])
		}
	}
	page, err := b.ListSessions(t.Context(), session.Filter{Tenant: "diku"})
	must(t, err)
	if len(page.Sessions) != 1 || page.Sessions[0].ID != ids[0] || len(b.events(t, audit.Login)) != 1 {
		t.Errorf("%d sessions, %d logins", len(page.Sessions), len(b.events(t, audit.Login)))
	}
}

func replaceKeySession(t *testing.T, b bench, _ engine) {
	k := b.apiKey(t, 1)
	begin := func(before string) (token.SessionID, *session.Session) {
		s := newSession("diku", alice, b.Now())
		id, err := b.BeginKeySession(t.Context(), k.ID, before, s, audit.Event{Kind: audit.Login, Tenant: "diku"})
		must(t, err)
		return id, s
	}
	first, _ := begin("")
	must(t, ignore(b.EndSessions(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, session.RevokedByAdmin, audit.Event{Kind: audit.SessionRevoked})))
	second, row := begin(first.String())
	if second == first || second != row.ID || b.onlyAPIKey(t).Session != second.String() {
		t.Errorf("%s after %s", second, first)
	}
	// It is of the user's epoch now, and not ended by what ended the first.
	if kept := b.session(t, second); kept.UserEpoch != row.UserEpoch || kept.UserEpoch == 0 {
		t.Errorf("epoch %d", kept.UserEpoch)
	}
	if late, _ := begin(first.String()); late != second {
		t.Errorf("whoever comes late got %s, not %s", late, second)
	}
	if _, err := b.BeginKeySession(t.Context(), "nobody's", "", newSession("diku", alice, b.Now()), keyEvent1); !errors.Is(err, session.ErrNotFound) {
		t.Error(err)
	}
}

func loseAPIKeysWithUser(t *testing.T, b bench, _ engine) {
	b.apiKey(t, 1)
	b.heard.take()
	must(t, ignore(b.DeleteUser(t.Context(), "diku", alice, audit.Event{Kind: audit.UserDeleted, Tenant: "diku", UserID: alice})))
	wantChange(t, b, session.APIKeysChanged)
	all, err := b.APIKeys(t.Context())
	must(t, err)
	if len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func deleteRevokedAPIKey(t *testing.T, b bench, _ engine) {
	k := b.apiKey(t, 1)
	gone := audit.Event{Kind: audit.APIKeyDeleted}
	if err := b.DeleteAPIKey(t.Context(), k.ID, gone); !errors.Is(err, session.ErrInvalid) {
		t.Error(err)
	}
	must(t, ignore(b.UpdateAPIKey(t.Context(), k.ID, func(k *apikey.Key) error { k.RevokedAt = b.Now(); return nil }, keyEvent1)))
	must(t, b.DeleteAPIKey(t.Context(), k.ID, gone))
	if err := b.DeleteAPIKey(t.Context(), k.ID, gone); !errors.Is(err, session.ErrNotFound) {
		t.Error(err)
	}
	if len(b.events(t, audit.APIKeyDeleted)) != 1 {
		t.Error("not told")
	}
}
