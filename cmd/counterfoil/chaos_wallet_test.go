package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// cookieSite is where the jars think that they are. Ports do not part cookies.
var cookieSite, _ = url.Parse("http://127.0.0.1/authn/refresh")

// wallet is where a client keeps its session: a cookie jar that its tabs share,
// or variables of its own.
type wallet struct {
	name     string
	username string

	mu sync.Mutex
	// jar is nil for a client that keeps its tokens itself.
	jar                   http.CookieJar
	access, refresh, heal string
	// old are tokens that were replaced, for a thief, with when they were.
	old []oldToken
	// out is whether the session is over and somebody must log in.
	out bool
	// logins counts sessions, so that a late refusal of one does not end the next.
	logins int
}

type oldToken struct {
	token string
	at    time.Duration
}

func newWallet(name, username string, inJar bool) *wallet {
	w := &wallet{name: name, username: username}
	if inJar {
		w.jar, _ = cookiejar.New(nil)
	}
	return w
}

// pocket is what a request takes along.
type pocket struct {
	access, refresh, heal string
	cookies               []*http.Cookie
	login                 int
	out                   bool
}

func (w *wallet) open() pocket {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := pocket{access: w.access, refresh: w.refresh, heal: w.heal, login: w.logins, out: w.out}
	if w.jar != nil {
		p.cookies = w.jar.Cookies(cookieSite)
		for _, c := range p.cookies {
			switch c.Name {
			case session.AccessCookie:
				p.access = c.Value
			case session.RefreshCookie:
				p.refresh = c.Value
			}
		}
	}
	return p
}

// put keeps what an answer gave, unless another session has begun meanwhile.
func (w *wallet) put(login int, got *chaosAnswer, at time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if login != w.logins {
		return
	}
	if w.jar != nil {
		w.jar.SetCookies(cookieSite, got.cookies)
		return
	}
	if got.json.RefreshToken != "" {
		if w.refresh != got.json.RefreshToken && w.refresh != "" {
			w.old = append(w.old, oldToken{w.refresh, at})
		}
		w.access, w.refresh = got.json.AccessToken, got.json.RefreshToken
	}
	w.heal = got.heal()
}

// over is told when a session has ended.
func (w *wallet) over(login int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if login == w.logins {
		w.out = true
	}
}

// begin keeps the tokens of a new session.
func (w *wallet) begin(got *chaosAnswer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logins++
	w.out, w.heal, w.old = false, "", nil
	if w.jar != nil {
		w.jar, _ = cookiejar.New(nil)
		w.jar.SetCookies(cookieSite, got.cookies)
		return
	}
	w.access, w.refresh = got.json.AccessToken, got.json.RefreshToken
}
