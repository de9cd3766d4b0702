package server

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// street is the whole program on a real database, in a bubble of
// testing/synctest in which days pass in milliseconds. Its requests go to the
// public listener's handler, with everything that stands before it.
type street struct {
	*Server
	t    *testing.T
	dice *rand.Rand
}

const streetUser = "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"

// onStreet runs one story.
func onStreet(t *testing.T, seed uint64, story func(*street)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &Config{
			Data: filepath.Join(dir, "data"), LogTo: new(logged), Now: time.Now,
			Listen: "127.0.0.1:0", InternalListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
		}
		c.Log.Level = "error"
		// Done every few seconds, these are most of what a day costs.
		c.MarkEvery, c.Audit.SealEvery, c.Audit.CheckpointEvery = 365*day, session.Duration(365*day), session.Duration(365*day)
		c.SetDefaults()
		s, err := Open(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		st := &street{Server: s, t: t, dice: rand.New(rand.NewPCG(seed, 7))}
		ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
		st.must(s.Store().CreateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantCreated, Tenant: "diku"}))
		st.must(s.sessions.CreateUser(ctx, directory.User{ID: streetUser, Tenant: "diku", Username: "reader", Active: true}, directory.Grants{}, "correct horse battery"))
		story(st)
		st.must(s.Close(context.Background()))
		synctest.Wait()
	})
}

func (st *street) must(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

// up to is a random part of a duration.
func (st *street) upTo(d time.Duration) time.Duration {
	return time.Duration(st.dice.Int64N(int64(d)))
}

// jar is the cookies of a browser, which its tabs share, and where it is.
type jar struct {
	sync.Mutex
	access, refresh string
	expires         time.Time // of the access token, as the browser was told
	heals           map[string]string
	address, agent  string
	// cleared is whether the program has told the browser to forget its tokens.
	cleared bool
}

func (st *street) login(address string) (*jar, token.SessionID) {
	st.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "user", Name: "reader", Address: address})
	tokens, err := st.sessions.SignFor(ctx, "diku", streetUser, "reader")
	st.must(err)
	return &jar{
		access: tokens.Access, refresh: tokens.Refresh, expires: tokens.AccessExpires,
		heals: make(map[string]string), address: address, agent: "Firefox",
	}, tokens.Session
}

// copied is what a thief gets of a jar.
func (j *jar) copied(address string) *jar {
	j.Lock()
	defer j.Unlock()
	return &jar{access: j.access, refresh: j.refresh, expires: j.expires, heals: make(map[string]string), address: address, agent: "Other"}
}

// left is how long the access token is good for.
func (j *jar) left() time.Duration {
	j.Lock()
	defer j.Unlock()
	return time.Until(j.expires)
}

// held is the jar's refresh token.
func (j *jar) held() string {
	j.Lock()
	defer j.Unlock()
	return j.refresh
}

// send makes a request of a browser. The cookies are those of the jar at the
// time of sending.
func (st *street) send(method, path string, j *jar, cookies map[string]string) *http.Response {
	r := httptest.NewRequest(method, path, bytes.NewReader(nil))
	r.RemoteAddr = j.address + ":40000"
	r.Header.Set("User-Agent", j.agent)
	r.Header.Set("X-Okapi-Tenant", "diku")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, value := range cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	st.handlers[Public].ServeHTTP(w, r)
	return w.Result()
}

// ask sends the jar's refresh token, after a delay, and puts what is answered
// into the jar, after another.
func (st *street) ask(j *jar, before, after time.Duration) (status int, superseded bool) {
	j.Lock()
	cookies := map[string]string{session.RefreshCookie: j.refresh}
	maps.Copy(cookies, j.heals)
	j.Unlock()
	time.Sleep(before)
	answer := st.send(http.MethodPost, "/authn/refresh", j, cookies)
	time.Sleep(after)
	j.Lock()
	defer j.Unlock()
	for _, c := range answer.Cookies() {
		switch {
		case c.MaxAge < 0:
			j.cleared = true
		case c.Name == session.AccessCookie:
			j.access, j.expires = c.Value, time.Now().Add(time.Duration(c.MaxAge)*time.Second)
		case c.Name == session.RefreshCookie:
			j.refresh = c.Value
		default:
			j.heals[c.Name] = c.Value
			time.AfterFunc(time.Duration(c.MaxAge)*time.Second, func() {
				j.Lock()
				defer j.Unlock()
				if j.heals[c.Name] == c.Value {
					delete(j.heals, c.Name)
				}
			})
		}
	}
	var body struct {
		Errors []struct{ Parameters []struct{ Key, Value string } }
	}
	_ = json.NewDecoder(answer.Body).Decode(&body)
	for _, e := range body.Errors {
		for _, p := range e.Parameters {
			superseded = superseded || p.Key == "reason" && p.Value == "superseded"
		}
	}
	return answer.StatusCode, superseded
}

// use calls something with the access token and says whether it was served.
func (st *street) use(j *jar) bool {
	j.Lock()
	cookies := map[string]string{session.AccessCookie: j.access}
	j.Unlock()
	answer := st.send(http.MethodGet, "/authn/sessions/_self", j, cookies)
	return answer.StatusCode == http.StatusOK
}

// over is whether a session has ended, and flagged whether it ended because the
// rule noticed.
func (st *street) over(id token.SessionID) (over, flagged bool) {
	row, err := st.sessions.Session(context.Background(), id)
	st.must(err)
	return !row.RevokedAt.IsZero(), row.RevokedWhy == session.RefreshReuse
}
