package server_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// lossy stands between clients and the program. It takes every request
// through, and a part of the answers gets lost on the way back.
func lossy(t *testing.T, o *office, part float64, lost *atomic.Int64) string {
	target, err := url.Parse(o.URL(server.Public))
	o.must(err)
	through := httputil.NewSingleHostReverseProxy(target)
	through.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(1, 2))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		through.ServeHTTP(answer, r)
		mu.Lock()
		loses := dice.Float64() < part
		mu.Unlock()
		if loses {
			lost.Add(1)
			panic(http.ErrAbortHandler) // the client sees the connection break
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = answer.Body.WriteTo(w)
	}))
	proxy.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// script is a client without a cookie jar. It does what the documentation
// tells: where no answer came, or a 503, it sends the token that it has again.
type script struct {
	office *office
	base   string
	token  string
}

// rotate returns how often it asked, or an error once it would be logged out.
func (s *script) rotate() (asked int, err error) {
	body := map[string]string{"refreshToken": s.token}
	for asked = 1; asked <= 20; asked++ {
		got, err := s.office.send(http.MethodPost, s.base+"/authn/refresh", body)
		switch {
		case err != nil, got.status == http.StatusServiceUnavailable:
			continue
		case got.status == http.StatusCreated:
			s.token = got.json.RefreshToken
			return asked, nil
		case got.heal() != "":
			body["heal"] = got.heal()
			continue
		}
		return asked, fmt.Errorf("logged out: %d %s", got.status, got.body)
	}
	return asked, errors.New("no answer in 20 attempts")
}

// A client cannot know whether a request whose answer it did not get was
// served. Strict rotation logs it out for asking again.
func TestT7LostAnswersLogNobodyOut(t *testing.T) {
	sessions, rotations := 200, 50
	if os.Getenv("COUNTERFOIL_LONG") != "" {
		rotations = 1000
	}
	many := 1000
	o := openOffice(t, func(c *server.Config) { c.Policy.SessionsPerUser = &many })
	var lost, asked, out atomic.Int64
	base := lossy(t, o, 0.1, &lost)
	scripts, ids := make([]*script, sessions), make([]token.SessionID, sessions)
	for i := range scripts {
		tokens := o.login()
		scripts[i], ids[i] = &script{office: o, base: base, token: tokens.Refresh}, tokens.Session
	}
	started := time.Now()
	for range rotations {
		group := errgroup.Group{}
		group.SetLimit(32)
		for _, s := range scripts {
			group.Go(func() error {
				n, err := s.rotate()
				asked.Add(int64(n))
				if err != nil {
					out.Add(1)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		o.wait(21 * time.Second) // past the floor, so that the next refresh rotates
	}
	took := time.Since(started)
	for _, id := range ids {
		row, err := o.Store().Session(t.Context(), id)
		o.must(err)
		if row.Gen != uint64(rotations)+1 || !row.RevokedAt.IsZero() {
			t.Errorf("session %s: generation %d, want %d, revoked %s", id, row.Gen, rotations+1, row.RevokedAt)
		}
	}
	if lost.Load() < int64(sessions*rotations/15) {
		t.Errorf("%d answers were lost only, the test shows nothing", lost.Load())
	}
	t.Logf("%d sessions, %d rotations each: %d requests, %d answers lost, %d forced logouts, in %s",
		sessions, rotations, asked.Load(), lost.Load(), out.Load(), took.Round(time.Millisecond))
}

func TestT6FiftyRefreshesOfOneTokenOverHTTPGiveOneSuccessor(t *testing.T) {
	o := openOffice(t, nil)
	for name, cookie := range map[string]bool{"body": false, "cookie": true} {
		t.Run(name, func(t *testing.T) {
			tokens := o.login()
			var mu sync.Mutex
			successors, statuses := map[string]int{}, map[int]int{}
			var running sync.WaitGroup
			for range 50 {
				running.Go(func() {
					var got *reply
					if cookie {
						got = o.post("/authn/refresh", nil, "Cookie", session.RefreshCookie+"="+tokens.Refresh, "Sec-Fetch-Site", "same-origin")
					} else {
						got = o.refresh(tokens.Refresh)
					}
					mu.Lock()
					defer mu.Unlock()
					statuses[got.status]++
					if got.json.RefreshToken != "" {
						successors[got.json.RefreshToken]++
					}
					for _, c := range got.cookies {
						if c.Name == session.RefreshCookie {
							successors[c.Value]++
						}
					}
				})
			}
			running.Wait()
			if len(successors) != 1 || statuses[http.StatusCreated] != 50 {
				t.Errorf("%d different successors, statuses %v", len(successors), statuses)
			}
			row, err := o.Store().Session(t.Context(), tokens.Session)
			o.must(err)
			if row.Gen != 2 || !row.RevokedAt.IsZero() || row.Struck() {
				t.Errorf("generation %d, revoked %s, struck %v", row.Gen, row.RevokedAt, row.Struck())
			}
		})
	}
}

func TestT16ClockThatIsSetBackOrForwardLogsNobodyOut(t *testing.T) {
	o := openOffice(t, nil)
	kept, idle := o.login().Refresh, o.login().Refresh
	step := func(d time.Duration, raw string, want int) string {
		t.Helper()
		o.wait(d)
		got := o.post("/authn/refresh", nil, "Cookie", session.RefreshCookie+"="+raw)
		if got.status != want {
			t.Fatalf("after %s: %d %s, want %d", d, got.status, got.body, want)
		}
		cleared := slices.ContainsFunc(got.cookies, func(c *http.Cookie) bool { return c.MaxAge < 0 })
		if cleared != (want == http.StatusUnprocessableEntity) {
			t.Fatalf("after %s: cookies %v", d, got.cookies)
		}
		for _, c := range got.cookies {
			if c.Name == session.RefreshCookie && c.MaxAge > 0 {
				return c.Value
			}
		}
		return raw
	}
	kept = step(0, kept, http.StatusCreated)
	for _, d := range []time.Duration{-time.Hour, -2 * time.Second, time.Hour, 6 * 24 * time.Hour, -24 * time.Hour, 2 * 24 * time.Hour} {
		kept = step(d, kept, http.StatusCreated)
	}
	step(2*time.Hour, idle, http.StatusUnprocessableEntity) // 7 days and 2 hours
	step(-time.Hour, idle, http.StatusUnprocessableEntity)
	step(0, kept, http.StatusCreated)
}
