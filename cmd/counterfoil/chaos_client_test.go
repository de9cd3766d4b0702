package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// chaosAnswer is what came back; a status of 0 is nothing.
type chaosAnswer struct {
	status  int
	cookies []*http.Cookie
	json    struct {
		AccessToken, RefreshToken string
		Errors                    []struct {
			Parameters []struct{ Key, Value string }
		}
	}
}

func (a *chaosAnswer) parameter(key string) string {
	for _, e := range a.json.Errors {
		for _, p := range e.Parameters {
			if p.Key == key {
				return p.Value
			}
		}
	}
	return ""
}

func (a *chaosAnswer) heal() string { return a.parameter("heal") }

func (a *chaosAnswer) superseded() bool { return a.parameter("reason") == "superseded" }

// refreshToken is the refresh token in the answer, wherever it is.
func (a *chaosAnswer) refreshToken() string {
	for _, c := range a.cookies {
		if c.Name == session.RefreshCookie && c.MaxAge > 0 {
			return c.Value
		}
	}
	return a.json.RefreshToken
}

// tab is one that uses a wallet, one request after the other.
type tab struct {
	c      *campaign
	wallet *wallet
	name   string
	dice   *dice
	http   *http.Client // nil is the campaign's
}

// once sends a request and puts it into the history.
func (t *tab) once(n *chaosNode, what asked, method, target string, body any, p *pocket, header ...string) *chaosAnswer {
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	r, err := http.NewRequest(method, target, bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	r.Header.Set("X-Okapi-Tenant", "diku")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if p != nil && p.cookies != nil {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for _, c := range p.cookies {
			r.AddCookie(c)
		}
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got := &chaosAnswer{}
	what.client, what.node, what.start = t.name, n.name, t.c.history.now()
	client := t.http
	if client == nil {
		client = t.c.http
	}
	if answer, err := client.Do(r); err == nil {
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err == nil {
			got.status, got.cookies = answer.StatusCode, answer.Cookies()
			_ = json.Unmarshal(text, &got.json)
			if got.status >= 400 && got.status != http.StatusServiceUnavailable {
				what.says = " " + string(text[:min(len(text), 120)])
			}
		}
	}
	what.end, what.status, what.superseded = t.c.history.now(), got.status, got.superseded()
	if got.status == http.StatusCreated {
		session, gen, mark := named(got.refreshToken())
		if what.act == logsIn {
			what.session = session
		}
		if session == what.session {
			what.got, what.mark = gen, mark
		}
	}
	what.last = !got.answered() && what.last
	t.c.history.add(what)
	return got
}

func (a *chaosAnswer) answered() bool {
	return a.status != 0 && a.status != http.StatusServiceUnavailable
}

// patient is how long a client asks again until it is answered.
const patient = 60 * time.Second

// again does what the protocol tells where no answer came, or a 503: it sends
// the request again, made anew from what the client has by then.
func (t *tab) again(ask func(n *chaosNode, last bool) *chaosAnswer, nodes ...*chaosNode) *chaosAnswer {
	if nodes == nil {
		nodes = t.c.nodes
	}
	began := t.c.history.now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		last := t.c.history.now()-began > patient
		got := ask(nodes[t.dice.below(len(nodes))], last)
		if got == nil || got.answered() || last {
			return got
		}
		time.Sleep(t.dice.between(pause/2, pause))
	}
}

// refresh presents the newest token, and heals where it was superseded.
func (t *tab) refresh() {
	for range 5 {
		var used pocket
		got := t.again(func(n *chaosNode, last bool) *chaosAnswer {
			p := t.wallet.open()
			used = p
			if p.out || p.refresh == "" {
				return nil
			}
			what := asked{act: refreshes, last: last}
			what.session, what.gen, _ = named(p.refresh)
			var body any
			if p.cookies == nil {
				members := map[string]string{"refreshToken": p.refresh}
				if p.heal != "" {
					members["heal"] = p.heal
				}
				body = members
			}
			got := t.once(n, what, http.MethodPost, n.front.url+"/authn/refresh", body, &p)
			if got.status != 0 {
				t.wallet.put(p.login, got, t.c.history.now())
			}
			return got
		})
		switch {
		case got == nil:
			if used.refresh == "" {
				t.wallet.over(used.login)
			}
			return
		case !got.superseded():
			if got.status == http.StatusUnprocessableEntity {
				t.wallet.over(used.login)
			}
			return
		}
	}
}

// call asks the module, and refreshes first if there is nothing to ask with.
func (t *tab) call() {
	p := t.wallet.open()
	session, gen, expires := claimed(p.access)
	if p.out {
		return
	}
	if p.access == "" || time.Until(expires) < 500*time.Millisecond {
		t.refresh()
		return
	}
	what := asked{act: calls, session: session, gen: gen, expires: expires.Sub(t.c.history.began)}
	got := t.again(func(n *chaosNode, last bool) *chaosAnswer {
		what.last = last
		return t.once(n, what, http.MethodGet, n.front.url+"/orders", nil, nil, "X-Okapi-Token", p.access)
	})
	if got.status == http.StatusUnauthorized {
		t.refresh()
	}
}

// steal presents a token that was replaced longer ago than the window.
func (t *tab) steal() {
	t.wallet.mu.Lock()
	old := t.wallet.old
	t.wallet.mu.Unlock()
	if len(old) == 0 {
		return
	}
	one := old[t.dice.below(len(old))]
	if t.c.history.now() < one.at+t.c.sizes.limits.grace {
		return
	}
	what := asked{act: refreshes, thief: true}
	what.session, what.gen, _ = named(one.token)
	n := t.c.nodes[t.dice.below(len(t.c.nodes))]
	t.once(n, what, http.MethodPost, n.front.url+"/authn/refresh", map[string]string{"refreshToken": one.token}, nil)
}

// logOut ends the session, and haunts the nodes with its tokens.
func (t *tab) logOut() {
	p := t.wallet.open()
	what := asked{act: logsOut}
	what.session, what.gen, _ = named(p.refresh)
	if p.out || what.session == "" {
		return
	}
	got := t.again(func(n *chaosNode, last bool) *chaosAnswer {
		what.last = last
		var body any
		if p.cookies == nil {
			body = map[string]string{"refreshToken": p.refresh}
		}
		return t.once(n, what, http.MethodPost, n.front.url+"/authn/logout", body, &p)
	})
	if got.status == http.StatusNoContent {
		t.wallet.over(p.login)
		t.c.haunt(p)
	}
}

// revoke has an operator end the session, at one of the nodes. Its client is not
// told.
func (t *tab) revoke(nodes ...*chaosNode) {
	p := t.wallet.open()
	what := asked{act: revokes}
	what.session, _, _ = named(p.refresh)
	if p.out || what.session == "" {
		return
	}
	if t.c.revoke(t, what, nodes...) {
		t.c.haunt(p)
	}
}

// logIn begins another session.
func (t *tab) logIn() {
	p := t.wallet.open()
	if !p.out || !strings.HasSuffix(t.name, "1") {
		return // the first tab logs in
	}
	path := "/authn/login"
	if t.wallet.jar != nil {
		path = "/authn/login-with-expiry"
	}
	got := t.again(func(n *chaosNode, last bool) *chaosAnswer {
		return t.once(n, asked{act: logsIn, last: last}, http.MethodPost, n.front.url+path,
			map[string]string{"username": t.wallet.username, "password": chaosPassword}, nil)
	})
	if got.status == http.StatusCreated {
		t.wallet.begin(got)
	}
}

// work goes on until stop is closed.
func (t *tab) work(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(t.dice.between(t.c.sizes.pace/2, t.c.sizes.pace*3/2)):
		}
		switch n := t.dice.below(1000); {
		case t.wallet.open().out:
			t.logIn()
		case n < 3:
			t.logOut()
		case n < 6:
			t.revoke()
		case n < 26:
			t.steal() // finds something with clients that keep their tokens themselves
		case n < 450:
			t.refresh()
		default:
			t.call()
		}
	}
}
