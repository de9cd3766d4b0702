package server_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// probes are what clients hold when their installation moves.
type probes struct {
	names           []string
	refresh, access []string
	// statuses are those of the answers, of the access token if there is one, and twice
	// of the refresh token.
	statuses []int
}

func (p *probes) add(name, refresh, access string, statuses ...int) {
	p.names, p.refresh, p.access = append(p.names, name), append(p.refresh, refresh), append(p.access, access)
	p.statuses = append(p.statuses, statuses...)
}

// answers is how a program answers each of them, twice where a second time
// matters. The successor of a refresh token follows from the row alone, so that
// it is the same wherever the row is.
func (p *probes) answers(o *office) (all []string) {
	var statuses []int
	for i, name := range p.names {
		if p.access[i] != "" {
			got, err := o.send(http.MethodGet, o.URL(server.Public)+"/authn/sessions/_self", nil, "X-Okapi-Tenant", "diku", "X-Okapi-Token", p.access[i])
			o.must(err)
			statuses = append(statuses, got.status)
		}
		for range 2 {
			got := o.refresh(p.refresh[i])
			var codes []string
			for _, e := range got.json.Errors {
				codes = append(codes, e.Code)
			}
			statuses = append(statuses, got.status)
			all = append(all, fmt.Sprintf("%s: %d %v %s", name, got.status, codes, got.json.RefreshToken))
		}
	}
	if diff := cmp.Diff(p.statuses, statuses); diff != "" {
		o.t.Errorf("%s answers (-want +got):\n%s", o.config.Store, diff)
	}
	return all
}

// hold makes sessions in each state, an hour ago and now.
func hold(o *office) *probes {
	p := &probes{}
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	next := func(raw string) *reply {
		o.t.Helper()
		got := o.refresh(raw)
		if got.status != http.StatusCreated {
			o.t.Fatalf("%d %s", got.status, got.body)
		}
		return got
	}
	gone := o.login()
	o.must(o.Sessions().LogoutUser(ctx, "diku", readerID))
	p.add("ended by the epoch", gone.Refresh, gone.Access, 401, 422, 422)
	fresh, rotated, struck, out := o.login(), o.login(), o.login(), o.login()
	p.add("never refreshed", fresh.Refresh, "", 201, 201)
	newest := next(rotated.Refresh).json.RefreshToken
	strikes := next(next(struck.Refresh).json.RefreshToken).json.RefreshToken

	o.wait(time.Hour)
	o.must(o.Sessions().Logout(ctx, out.Refresh))
	p.add("logged out", out.Refresh, "", 422, 422)
	now := next(newest)
	p.add("refreshed just now, newest token", now.json.RefreshToken, now.json.AccessToken, 200, 201, 201)
	p.add("refreshed just now, the one before", newest, "", 201, 201)
	p.add("refreshed just now, the first", rotated.Refresh, "", 422, 422)
	if got := o.refresh(struck.Refresh); got.status == http.StatusCreated || got.heal() == "" {
		o.t.Fatalf("%d %s", got.status, got.body)
	}
	p.add("struck, the first token again", struck.Refresh, "", 422, 422)
	p.add("struck, newest token", strikes, "", 201, 201)
	revoked := o.login()
	if ended, err := o.Sessions().Revoke(ctx, revoked.Session); !ended || err != nil {
		o.t.Fatal(ended, err)
	}
	p.add("revoked", revoked.Refresh, revoked.Access, 401, 422, 422)
	return p
}

func TestSessionsGoOnAfterACopyAsTheyWouldHave(t *testing.T) {
	grace := session.Duration(time.Minute) // a slow machine must not outlive it
	start := openOffice(t, func(c *server.Config) {
		c.MasterKey, c.Policy.Grace = clusterKey, &grace
		now := c.Now
		c.Now = func() time.Time { return now().Add(-time.Hour) }
	})
	held := hold(start)
	timeline, err := start.Store().Events(t.Context(), session.EventFilter{Limit: 1000})
	start.must(err)
	start.close()

	stores := []string{
		start.config.Store, pgtest.Database(t),
		"sqlite:" + filepath.Join(t.TempDir(), "new", "counterfoil.db"),
	}
	for i, to := range stores[1:] {
		copied, err := server.CopyStore(t.Context(), start.config, stores[i], to, server.CopyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if at := slices.IndexFunc(copied.Tables, func(one server.CopiedTable) bool { return one.Name == "sessions" }); copied.Tables[at].Rows != 6 {
			t.Errorf("%+v", copied)
		}
	}
	var want []string
	for _, store := range stores {
		o := emptyOffice(t, func(c *server.Config) {
			c.Store, c.MasterKey, c.Policy.Grace = store, clusterKey, &grace
		})
		told, err := o.Store().Events(t.Context(), session.EventFilter{Before: timeline[0].Seq + 1, Limit: 1000})
		o.must(err)
		if diff := cmp.Diff(timeline, told); diff != "" {
			t.Errorf("the timeline differs (-want +got):\n%s", diff)
		}
		got := held.answers(o)
		if want == nil {
			want = got
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("clients are answered otherwise (-want +got):\n%s", diff)
		}
		o.close()
	}
}

func TestCopyRefusesPlacesThatAreNone(t *testing.T) {
	c := &server.Config{}
	c.SetDefaults()
	file := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	for _, places := range [][2]string{
		{"a.db", file},
		{file, "mysql://a/b"},
		{file, "postgres://a:secret@b/c"},
		{file, "postgres://nowhere"},
		{file, file},
		{"sqlite:", file},
	} {
		if _, err := server.CopyStore(t.Context(), c, places[0], places[1], server.CopyOptions{}); err == nil {
			t.Errorf("copied from %s to %s", places[0], places[1])
		}
	}
}
