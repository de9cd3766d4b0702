package server_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// teller plays the story, and remembers.
type teller struct {
	*office
	*hoard
}

// say sends a request, remembers what was given out and, if it was refused,
// what was said.
func (s teller) say(want int, method, target string, body any, header ...string) *reply {
	s.t.Helper()
	got, err := s.send(method, target, body, header...)
	s.must(err)
	s.take(got.header, got.body)
	if got.status >= http.StatusBadRequest {
		text := string(got.body)
		if nonce := got.heal(); nonce != "" { // given out here on purpose
			s.add("heal nonce", nonce)
			text = strings.ReplaceAll(text, nonce, "")
		}
		fmt.Fprintln(&s.said, text)
	}
	if got.status != want {
		s.t.Errorf("%s %s: %d %s, want %d", method, target, got.status, got.body, want)
	}
	return got
}

func (s teller) public(want int, path string, body any, header ...string) *reply {
	s.t.Helper()
	method := http.MethodPost
	if body == nil && !strings.HasPrefix(path, "/authn/") {
		method = http.MethodGet
	}
	return s.say(want, method, s.URL(server.Public)+path, body, append(header, "X-Okapi-Tenant", "diku")...)
}

// nonsense is a body that no decoder takes, with a password in it.
type nonsense string

func (n nonsense) MarshalJSON() ([]byte, error) { return []byte(n), nil }

func (s teller) logins() (script *reply, cookies string) {
	wrong, typed := "a wrong canary password", "canary typed into the wrong field"
	s.add("password", readerPW)
	s.add("password", wrong)
	s.add("password", typed)
	in := func(username, password string) map[string]string {
		return map[string]string{"username": username, "password": password}
	}
	script = s.public(201, "/authn/login", in("reader", readerPW))
	web := s.public(201, "/authn/login-with-expiry", in("reader", readerPW))
	s.public(201, "/bl-users/login-with-expiry", in("reader", readerPW))
	s.public(422, "/authn/login", in("reader", wrong))
	s.public(422, "/authn/login-with-expiry", in(typed, "x"))
	s.public(422, "/bl-users/login-with-expiry", in("nobody", wrong))
	for _, body := range []nonsense{
		`{"username":"reader","password":["` + nonsense(wrong) + `"]}`,
		`{"username":"reader","password":"x","password":"` + nonsense(wrong) + `"}`,
		`["` + nonsense(wrong) + `"]`,
	} {
		s.public(400, "/authn/login", body)
	}
	s.public(400, "/authn/refresh", nonsense(`{"refreshToken":"x","`+wrong+`":1}`))
	for _, c := range web.cookies {
		cookies += c.Name + "=" + c.Value + "; "
	}
	return script, strings.TrimSuffix(cookies, "; ")
}

func (s teller) calls(access, cookies string) {
	s.public(200, "/orders", nil, "X-Okapi-Token", access)
	s.public(200, "/orders", nil, "Authorization", "Bearer "+access)
	s.public(200, "/orders", nil, "Cookie", cookies)
	s.public(400, "/orders", nil, "Cookie", cookies, "X-Okapi-Token", access)
	s.public(401, "/orders", nil, "X-Okapi-Token", access+"x")
	s.public(401, "/orders?token="+access, nil)
	s.public(502, "/broken?token="+access, nil, "X-Okapi-Token", access)
	s.public(503, "/away?token="+access, nil, "X-Okapi-Token", access)
	s.public(404, "/nowhere", nil, "X-Okapi-Token", access)
}

func (s teller) refreshes(first, cookies string) (access string) {
	in := func(pairs ...string) map[string]string {
		m := map[string]string{"refreshToken": pairs[0]}
		if len(pairs) > 1 {
			m["heal"] = pairs[1]
		}
		return m
	}
	second := s.public(201, "/authn/refresh", in(first)).json
	s.public(200, "/orders", nil, "X-Okapi-Token", second.AccessToken)
	web := s.public(201, "/authn/refresh", nil, "Cookie", cookies)
	s.public(200, "/orders", nil, "Cookie", web.cookies[0].Name+"="+web.cookies[0].Value)
	s.public(400, "/authn/refresh", in(first), "Cookie", cookies)
	forged := []byte(first)
	forged[len(forged)-5] ^= 1 // in the tags
	s.public(422, "/authn/refresh", in(string(forged)))
	s.wait(25 * time.Second)
	stale := s.public(422, "/authn/refresh", in(first))
	if stale.heal() == "" {
		s.t.Error("no nonce was given out")
	}
	s.public(422, "/authn/refresh", nil, "Cookie", cookies) // superseded, its nonce is in a cookie
	third := s.public(201, "/authn/refresh", in(second.RefreshToken, stale.heal())).json
	s.public(204, "/authn/logout", nil, "Cookie", cookies)
	s.public(422, "/authn/refresh", nil, "Cookie", cookies)
	return third.AccessToken
}

func (s teller) raises(access string) {
	ask := func(password, permission string) map[string]any {
		return map[string]any{"password": password, "permissions": []string{permission}}
	}
	s.public(201, "/authn/elevate", ask(readerPW, "orders.collection.delete"), "X-Okapi-Token", access)
	s.public(422, "/authn/elevate", ask("a wrong canary password", "orders.collection.delete"), "X-Okapi-Token", access)
	s.public(403, "/authn/elevate", ask(readerPW, "users.item.delete"), "X-Okapi-Token", access)
}

// modules does what a module does with the token that it got.
func (s teller) modules(module, refresh string) {
	internal := s.URL(server.Internal)
	header := []string{"X-Okapi-Token", module, "X-Okapi-Tenant", "diku"}
	payload := map[string]any{"sub": "reader", "user_id": readerID}
	signed := s.say(201, http.MethodPost, internal+"/token/sign", map[string]any{"payload": payload}, header...)
	payload = map[string]any{"sub": "link", "dummy": true, "extra_permissions": []string{}}
	s.say(201, http.MethodPost, internal+"/token/sign", map[string]any{"payload": payload}, header...)
	s.say(201, http.MethodPost, internal+"/token/refresh", map[string]string{"refreshToken": signed.json.RefreshToken}, header...)
	s.say(401, http.MethodPost, internal+"/token/refresh", map[string]string{"refreshToken": refresh + "x"}, header...)
	s.say(204, http.MethodPost, internal+"/token/invalidate", map[string]string{"refreshToken": signed.json.RefreshToken}, header...)
	s.public(401, "/orders", nil, header[:2]...)
}

func (s teller) operators() {
	s.say(200, http.MethodGet, s.URL(server.Admin)+"/admin/health", nil) // it announces itself before it answers
	running, found, err := server.FindRunning(s.config.Data)
	if err != nil || !found {
		s.t.Fatal("the program did not announce itself", err)
	}
	s.add("admin token", running.Token)
	s.add("bootstrap code", s.Bootstrap)
	base, bearer := running.Admin, "Bearer "+running.Token
	code := map[string]string{"code": "wrong canary code", "tenant": "diku", "username": "first", "password": "another canary password"}
	s.add("password", code["password"])
	s.say(403, http.MethodPost, base+"/counterfoil/bootstrap", code)
	code["code"] = s.Bootstrap
	s.say(201, http.MethodPost, base+"/counterfoil/bootstrap", code)
	user := map[string]any{"username": "second", "password": "yet a third canary password", "permissions": []string{}, "elevated": []string{}}
	s.add("password", user["password"].(string))
	users := base + "/counterfoil/tenants/diku/users"
	s.say(201, http.MethodPost, users, user, "Authorization", bearer)
	s.say(200, http.MethodPut, users+"/second/password", map[string]string{"password": "the fourth canary password"}, "Authorization", bearer)
	s.say(422, http.MethodPut, users+"/second/password", map[string]string{"password": "canary"}, "Authorization", bearer)
	s.say(401, http.MethodGet, users, nil, "Authorization", bearer+"x")
	s.add("password", "the fourth canary password")
	for _, path := range []string{"/counterfoil/sessions", "/counterfoil/keys", "/counterfoil/policies", "/counterfoil/events?limit=1000"} {
		s.say(200, http.MethodGet, base+path, nil, "Authorization", bearer)
	}
}

// keys rotates and removes keys under live tokens.
func (s teller) keys(access string) {
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	for _, k := range s.Tokens().Keys() {
		_, err := s.Tokens().Rotate(ctx, k.Purpose, "", true)
		s.must(err)
		if k.Purpose != token.PurposeDerive {
			s.must(s.Tokens().Remove(ctx, k.Purpose, k.ID))
		}
	}
	s.public(401, "/orders", nil, "X-Okapi-Token", access)
}

// links sets a password by a link that a failing module was told of.
func (s teller) links() {
	heard := make(chan struct{}, 10)
	notify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		_, rest, _ := strings.Cut(string(text), "/reset-password/")
		raw, _, _ := strings.Cut(rest, "?")
		s.add("link", raw)
		s.take(r.Header, nil)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(text)
		heard <- struct{}{}
	}))
	s.t.Cleanup(notify.Close)
	s.enable("mod-notify-1.0.0", `[{"methods":["POST"],"pathPattern":"/notify","permissionsRequired":["notify.item.post"]}]`, notify.URL)
	s.public(204, "/bl-users/forgotten/password", map[string]string{"id": "reader"})
	<-heard
	link, err := s.Sessions().NewLink(context.Background(), "diku", readerID, time.Hour)
	s.must(err)
	s.add("link", link.Token)
	at := func(want int, path string, body any, raw string) {
		s.say(want, http.MethodPost, s.URL(server.Public)+"/bl-users/password-reset"+path, body, "X-Okapi-Tenant", "diku", "X-Okapi-Token", raw)
	}
	next := map[string]string{"newPassword": "a canary that flew away"}
	s.add("password", next["newPassword"])
	at(204, "/validate", nil, link.Token)
	at(422, "/validate", nil, link.Token+"x")
	at(422, "/reset", map[string]string{"newPassword": "canary!"}, link.Token)
	at(204, "/reset", next, link.Token)
	at(422, "/reset", next, link.Token)
	change := map[string]string{"username": "reader", "password": "a wrong canary password", "newPassword": "the last canary of all"}
	s.public(401, "/authn/update", change)
	s.add("password", change["newPassword"])
	change["password"] = next["newPassword"]
	s.public(204, "/authn/update", change)
}

func (s teller) configurations() {
	file := filepath.Join(s.t.TempDir(), "wrong.yaml")
	s.must(os.WriteFile(file, []byte("listen: nowhere\nmaster_key: a canary that is no key\n"), 0o600))
	s.add("master key", "a canary that is no key")
	_, err := server.LoadConfig(file, func(name string) (string, bool) {
		return "a canary that is no key", name == "COUNTERFOIL_MASTER_KEY"
	})
	if err == nil {
		s.t.Error("a wrong configuration was accepted")
	}
	fmt.Fprintln(&s.said, err)
}

// files are all files of the data directory.
func (s teller) files(when string, places map[string][]byte) {
	s.t.Helper()
	s.must(filepath.WalkDir(s.config.Data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		places[filepath.Base(path)+" "+when] = text
		return err
	}))
}

// serveModules gives diku a module that remembers its requests, one that
// answers nonsense with its token in it, and one that is away.
func (s teller) serveModules() (seen func() string) {
	const lent = `"modulePermissions":["auth.token.sign.post","auth.token.refresh.post"]`
	var mu sync.Mutex
	last := ""
	orders := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.take(r.Header, nil)
		mu.Lock()
		defer mu.Unlock()
		last = r.Header.Get("X-Okapi-Token")
	}))
	s.t.Cleanup(orders.Close)
	s.enable("mod-orders-1.0.0", `[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"],`+lent+`}]`, orders.URL)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			fmt.Fprintf(conn, "%s %s\r\n\r\n", r.Header.Get("X-Okapi-Token"), r.URL)
			conn.Close()
		}
		s.take(r.Header, nil)
	}))
	s.t.Cleanup(broken.Close)
	s.enable("mod-broken-1.0.0", `[{"methods":["GET"],"pathPattern":"/broken","permissionsRequired":[]}]`, broken.URL)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.must(l.Close())
	s.enable("mod-away-1.0.0", `[{"methods":["GET"],"pathPattern":"/away","permissionsRequired":[]}]`, "http://"+l.Addr().String())
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// Threat: whoever reads logs, metrics, error reports or a copied database gets
// sessions with it.
func TestT2NoSecretIsInLogsMetricsErrorsOrTheDatabase(t *testing.T) {
	h := &hoard{secrets: map[string]string{}}
	o := emptyOffice(t, func(c *server.Config) {
		c.Demo, c.LogTo, c.Log.Level, c.Login.MinPassword = false, h, "debug", 15
		c.Login.ResetURL = "https://ui.example.org/reset-password"
	})
	s := teller{o, h}
	s.operators()
	s.populate()
	device := session.BindingDevice
	bound := session.PolicyOverride{Tenant: "diku", Scope: "client", Name: session.ClientWeb, Patch: session.PolicyPatch{Binding: &device}}
	s.must(o.Store().SavePolicy(t.Context(), bound, audit.Event{Kind: audit.PolicyChanged, Tenant: "diku"}))
	master, err := os.ReadFile(o.config.MasterKeyFile)
	s.must(err)
	s.add("master key", strings.TrimSpace(string(master)))

	moduleToken := s.serveModules()
	script, cookies := s.logins()
	s.calls(script.json.AccessToken, cookies)
	s.modules(moduleToken(), script.json.RefreshToken)
	access := s.refreshes(script.json.RefreshToken, cookies)
	s.raises(access)
	s.keys(access)
	s.links()
	s.configurations()

	places := map[string][]byte{"metrics": s.say(200, http.MethodGet, s.URL(server.Admin)+"/metrics", nil).body}
	s.files("while the program runs", places)
	delete(places, "running.json while the program runs") // it is there to hold the admin token
	delete(places, "master.key while the program runs")
	canaries := s.plant()
	o.close()
	s.files("at the end", places)
	delete(places, "master.key at the end")
	places["log"], places["refusals"] = h.log.Bytes(), h.said.Bytes()
	if hits := search(h.secrets, places); len(hits) > 0 {
		t.Errorf("found: %s", strings.Join(hits, "\n"))
	}
	kinds := map[string]int{}
	for what := range h.secrets {
		kinds[strings.TrimRight(what, " 0123456789")]++
	}
	t.Logf("%d secrets %v in %d places", len(h.secrets), kinds, len(places))
	for _, kind := range []string{"JWT", "refresh token", "password", "link", "heal nonce", "cookie counterfoilDevice", "cookie counterfoilHeal", "admin token", "bootstrap code", "master key"} {
		if kinds[kind] == 0 {
			t.Errorf("the story has no %s: %v", kind, kinds)
		}
	}
	s.findsCanaries(canaries, places)
}

// plant lets things that look like secrets get into the log, into a refusal
// and, in each form, into the database, by ways that are open to everybody.
func (s teller) plant() map[string]string {
	s.t.Helper()
	canaries := map[string]string{"canary": "canary" + strings.Repeat("0123456789", 3)}
	for what, secret := range s.secrets {
		if strings.HasPrefix(what, "JWT") || strings.HasPrefix(what, "refresh token") {
			// The same kind of thing with another secret part.
			canaries["like "+what] = secret[:len(secret)-40] + strings.Repeat("canary0123", 4)
		}
	}
	plain := canaries["canary"]
	s.say(404, http.MethodGet, s.URL(server.Public)+"/"+plain, nil, "X-Okapi-Tenant", "diku")
	s.say(400, http.MethodGet, s.URL(server.Public)+"/orders", nil, "X-Okapi-Tenant", plain)
	for _, secret := range canaries {
		for _, form := range forms(secret) {
			event := audit.Event{Kind: audit.LoginFailed, Tenant: "diku", Reason: string(form)}
			s.must(s.Store().AppendEvents(context.Background(), event))
		}
	}
	return canaries
}

// findsCanaries shows that the search finds what is there.
func (s teller) findsCanaries(canaries map[string]string, places map[string][]byte) {
	s.t.Helper()
	all := strings.Join(search(canaries, places), "\n")
	for what := range canaries {
		if !strings.Contains(all, what+" in counterfoil.db") {
			s.t.Errorf("%s was written into the database and not found", what)
		}
	}
	for _, want := range []string{"canary in log", "canary in refusals"} {
		if !strings.Contains(all, want) {
			s.t.Errorf("not found: %s", want)
		}
	}
	for what, secret := range canaries {
		for i, form := range forms(secret) {
			place := map[string][]byte{"place": append([]byte("around "), form...)}
			if len(search(map[string]string{what: secret}, place)) == 0 {
				s.t.Errorf("form %d of %s is not found", i, what)
			}
		}
	}
}
