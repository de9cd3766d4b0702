package server_test

import (
	"context"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	issuer     = "https://folio.example.org"
	redirectTo = "https://app.example.org/done?x=1"
)

// standards is an office with clients: web and other are public, shop has a
// secret, desk may do nothing, watch may ask about tokens.
type standards struct {
	*office
	secret string
}

func openStandards(t *testing.T, adjust func(*server.Config)) *standards {
	t.Helper()
	secret, hash := session.NewClientSecret()
	s := &standards{secret: secret}
	s.office = openOffice(t, func(c *server.Config) { configureStandards(t, c, hash, adjust) })
	s.ready()
	s.enable("mod-orders-1.0.0", ordersHandlers, moduleThatAnswers(t))
	return s
}

func (s *standards) ready() {
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
}

func configureStandards(t *testing.T, c *server.Config, hash string, adjust func(*server.Config)) {
	t.Helper()
	all := []string{session.GrantCode, session.GrantRefresh}
	all = all[:2:2]
	c.PublicURL = issuer
	c.OAuth.Clients = []session.Client{
		{ID: "web", Tenant: "diku", Name: "The <web> client", Grants: all, Scopes: []string{"*"}, Redirects: []string{redirectTo, "http://127.0.0.1/cb"}},
		{ID: "other", Tenant: "diku", Grants: append(all, session.GrantExchange), Scopes: []string{"*"}, Redirects: []string{redirectTo}},
		{ID: "shop", Tenant: "diku", Grants: append(all, session.GrantCredentials), Scopes: []string{"orders.collection.get"}, SecretHash: hash, User: readerID, Redirects: []string{redirectTo}},
		{ID: "desk", Tenant: "diku", Grants: append(all, session.GrantExchange), Scopes: []string{"users.collection.get"}, Redirects: []string{redirectTo}},
		{ID: "watch", Tenant: "diku", Scopes: []string{"*"}, SecretHash: hash, Introspect: true},
		{ID: "away", Tenant: "elsewhere", Scopes: []string{"*"}, SecretHash: hash, Introspect: true},
	}
	if adjust != nil {
		adjust(c)
	}
	for i := range c.OAuth.Clients {
		if err := c.OAuth.Clients[i].Check(); err != nil {
			t.Fatal(err)
		}
	}
}

type oauthReply struct {
	status int
	header http.Header
	body   string
	json   struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int    `json:"expires_in"`
		IssuedType   string `json:"issued_token_type"`
		IDToken      string `json:"id_token"`
		Scope, Error string
		Reason, Heal string
		Active       bool
	}
}

func (s *standards) do(r *http.Request) *oauthReply {
	s.t.Helper()
	answer, err := s.office.client.Do(r)
	s.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	s.must(err)
	got := &oauthReply{status: answer.StatusCode, header: answer.Header, body: string(text)}
	_ = json.Unmarshal(text, &got.json) // some are HTML, or empty
	return got
}

// form posts parameters; names and values take turns. A name that begins with @ is
// a header.
func (s *standards) form(path string, pairs ...string) *oauthReply {
	s.t.Helper()
	body, header := url.Values{}, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		if name, ok := strings.CutPrefix(pairs[i], "@"); ok {
			header.Set(name, pairs[i+1])
		} else {
			body.Add(pairs[i], pairs[i+1])
		}
	}
	r, err := http.NewRequest(http.MethodPost, s.URL(server.Public)+path, strings.NewReader(body.Encode()))
	s.must(err)
	r.Header = header
	return s.do(r)
}

func (s *standards) tokenOf(pairs ...string) *oauthReply {
	s.t.Helper()
	return s.form("/oauth2/token", pairs...)
}

func want(t *testing.T, what string, got *oauthReply, status int, code string) {
	t.Helper()
	if got.status != status || got.json.Error != code {
		t.Errorf("%s: %d %q, want %d %q: %s", what, got.status, got.json.Error, status, code, got.body)
	}
}

func (s *standards) config(client string) *oauth2.Config {
	base := s.URL(server.Public)
	c := &oauth2.Config{ClientID: client, RedirectURL: redirectTo, Endpoint: oauth2.Endpoint{
		AuthURL: base + "/oauth2/authorize", TokenURL: base + "/oauth2/token", AuthStyle: oauth2.AuthStyleInParams,
	}}
	if client == "shop" {
		c.ClientSecret, c.Endpoint.AuthStyle = s.secret, oauth2.AuthStyleInHeader
	}
	return c
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// logIn does what a browser does: it opens the page and sends its form.
func (s *standards) logIn(address, password string, header ...string) *oauthReply {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	s.must(err)
	shown := s.do(r)
	if shown.status != http.StatusOK {
		s.t.Fatalf("login page: %d %s", shown.status, shown.body)
	}
	pairs := []string{"username", "reader", "password", password}
	for _, field := range hidden.FindAllStringSubmatch(shown.body, -1) {
		pairs = append(pairs, field[1], html.UnescapeString(field[2]))
	}
	return s.form("/oauth2/authorize", append(pairs, header...)...)
}

// code logs in and returns the code, with the verifier that belongs to it.
func (s *standards) code(client string) (code, verifier string) {
	s.t.Helper()
	return s.codeFrom(s.config(client))
}

// codeFrom is code for a client that asks for more than that.
func (s *standards) codeFrom(c *oauth2.Config) (code, verifier string) {
	s.t.Helper()
	verifier = oauth2.GenerateVerifier()
	back := s.logIn(c.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier)), readerPW)
	to, err := url.Parse(back.header.Get("Location"))
	s.must(err)
	query := to.Query()
	if back.status != http.StatusSeeOther || query.Get("state") != "a state" || query.Get("iss") != issuer || query.Get("x") != "1" || query.Get("code") == "" {
		s.t.Fatalf("%d to %s", back.status, to)
	}
	return query.Get("code"), verifier
}

func (s *standards) tokens(client string) *oauth2.Token {
	s.t.Helper()
	code, verifier := s.code(client)
	got, err := s.config(client).Exchange(context.Background(), code, oauth2.VerifierOption(verifier))
	s.must(err)
	return got
}

// orders is the status of a call with an access token.
func (s *standards) orders(access string) int {
	s.t.Helper()
	got, err := s.send(http.MethodGet, s.URL(server.Public)+"/orders", nil, "Authorization", "Bearer "+access, "X-Okapi-Tenant", "diku")
	s.must(err)
	return got.status
}

func TestOAuthCodeFlowWithAnUnmodifiedClient(t *testing.T) {
	s := openStandards(t, nil)
	for _, client := range []string{"web", "shop"} {
		got := s.tokens(client)
		if got.RefreshToken == "" || s.orders(got.AccessToken) != http.StatusOK {
			t.Fatalf("%s: tokens do not work", client)
		}
		expired := &oauth2.Token{RefreshToken: got.RefreshToken, Expiry: time.Now().Add(-time.Hour)}
		next, err := s.config(client).TokenSource(t.Context(), expired).Token()
		s.must(err)
		if next.RefreshToken == got.RefreshToken || s.orders(next.AccessToken) != http.StatusOK {
			t.Errorf("%s: not refreshed", client)
		}
	}
	source := &clientcredentials.Config{ClientID: "shop", ClientSecret: s.secret, TokenURL: s.URL(server.Public) + "/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader}
	machine, err := source.Token(t.Context())
	s.must(err)
	if machine.RefreshToken != "" || s.orders(machine.AccessToken) != http.StatusOK {
		t.Error("client_credentials: a refresh token, or no access")
	}
	// T-47: what a policy asks for a fresh proof of, a client's secret is none of.
	if c := s.claims(machine.AccessToken); !c.AuthTime.IsZero() {
		t.Errorf("nobody gave a password, and the token says at %s", c.AuthTime)
	}
}

func TestOAuthScopeTakesAway(t *testing.T) {
	s := openStandards(t, nil)
	if status := s.orders(s.tokens("desk").AccessToken); status != http.StatusForbidden {
		t.Errorf("permission outside of the client's scope: %d", status)
	}
	got := s.tokens("shop")
	want(t, "more than the client has", s.tokenOf("grant_type", "refresh_token", "refresh_token", got.RefreshToken, "client_id", "shop", "client_secret", s.secret, "scope", "users.all"), 400, "invalid_scope")
	again := s.tokenOf("grant_type", "refresh_token", "refresh_token", got.RefreshToken, "client_id", "shop", "client_secret", s.secret, "scope", "orders.collection.get")
	want(t, "what the client has", again, 200, "")
	if again.json.Scope != "orders.collection.get" || again.json.RefreshToken == got.RefreshToken {
		t.Errorf("%s", again.body)
	}
}

func TestOAuthClientsProveWhoTheyAreAndAFailureConsumesNothing(t *testing.T) {
	s := openStandards(t, nil)
	rt := s.tokens("shop").RefreshToken
	grant := []string{"grant_type", "refresh_token", "refresh_token", rt}
	basic := func(id, secret string) string {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(id, secret)
		return r.Header.Get("Authorization")
	}
	for name, test := range map[string]struct {
		pairs  []string
		status int
		code   string
	}{
		"no client":            {nil, 401, "invalid_client"},
		"unknown client":       {[]string{"client_id", "nobody"}, 401, "invalid_client"},
		"secret left out":      {[]string{"client_id", "shop"}, 401, "invalid_client"},
		"wrong secret":         {[]string{"client_id", "shop", "client_secret", "cfcs_x"}, 401, "invalid_client"},
		"wrong, basic":         {[]string{"@Authorization", basic("shop", "cfcs_x")}, 401, "invalid_client"},
		"two ways":             {[]string{"@Authorization", basic("shop", s.secret), "client_secret", s.secret}, 400, "invalid_request"},
		"two names":            {[]string{"@Authorization", basic("shop", s.secret), "client_id", "web"}, 401, "invalid_client"},
		"secret of a public":   {[]string{"client_id", "web", "client_secret", s.secret}, 401, "invalid_client"},
		"mixed-up client":      {[]string{"client_id", "web"}, 400, "invalid_grant"},
		"FOLIO's own client":   {[]string{"client_id", session.ClientAPI}, 400, "invalid_grant"},
		"FOLIO's web client":   {[]string{"client_id", session.ClientWeb}, 401, "invalid_client"},
		"parameter twice":      {[]string{"client_id", "web", "client_id", "web"}, 400, "invalid_request"},
		"other content type":   {[]string{"client_id", "web", "@Content-Type", "application/json"}, 400, "invalid_request"},
		"client without grant": {[]string{"@Authorization", basic("watch", s.secret)}, 400, "unauthorized_client"},
	} {
		got := s.tokenOf(append(test.pairs, grant...)...)
		want(t, name, got, test.status, test.code)
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Pragma") != "no-cache" || test.status == 401 && got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: headers %v", name, got.header)
		}
	}
	want(t, "query", s.form("/oauth2/token?client_id=web", grant...), 400, "invalid_request")
	want(t, "password", s.tokenOf("grant_type", "password", "client_id", "web", "username", "reader", "password", readerPW), 400, "unsupported_grant_type")
	want(t, "no grant", s.tokenOf("client_id", "web"), 400, "invalid_request")
	r, err := http.NewRequest(http.MethodGet, s.URL(server.Public)+"/oauth2/token", nil)
	s.must(err)
	want(t, "GET", s.do(r), 405, "invalid_request")
	// The refresh token of a client with a secret is worth nothing at FOLIO's door.
	if got := s.refresh(rt); got.status != 422 {
		t.Errorf("/authn/refresh: %d", got.status)
	}
	after := s.tokenOf(append(grant, "@Authorization", basic("shop", s.secret))...)
	want(t, "the right client afterwards", after, 200, "")
	if after.json.RefreshToken == rt {
		t.Error("the first refresh of a session rotates: something had consumed the token before")
	}
}

func TestOAuthCodesAreGoodForWhatTheyAreBoundTo(t *testing.T) {
	s := openStandards(t, nil)
	code, verifier := s.code("web")
	redeem := func(code, client, redirect, verifier string) *oauthReply {
		return s.tokenOf("grant_type", "authorization_code", "code", code, "client_id", client, "redirect_uri", redirect, "code_verifier", verifier)
	}
	flipped := []byte(code)
	flipped[len(flipped)-2] ^= 1
	want(t, "other client", redeem(code, "other", redirectTo, verifier), 400, "invalid_grant")
	want(t, "other redirect", redeem(code, "web", "http://127.0.0.1/cb", verifier), 400, "invalid_grant")
	want(t, "other verifier", redeem(code, "web", redirectTo, oauth2.GenerateVerifier()), 400, "invalid_grant")
	want(t, "short verifier", redeem(code, "web", redirectTo, "x"), 400, "invalid_grant")
	want(t, "no verifier", redeem(code, "web", redirectTo, ""), 400, "invalid_request")
	want(t, "flipped", redeem(string(flipped), "web", redirectTo, verifier), 400, "invalid_grant")
	want(t, "garbage", redeem("x", "web", redirectTo, verifier), 400, "invalid_grant")
	got := redeem(code, "web", redirectTo, verifier)
	want(t, "after all of these", got, 200, "")

	// Redeemed again, a code ends what it gave, also after its time.
	s.wait(2 * time.Minute)
	want(t, "again", redeem(code, "web", redirectTo, verifier), 400, "invalid_grant")
	want(t, "its refresh token", s.tokenOf("grant_type", "refresh_token", "client_id", "web", "refresh_token", got.json.RefreshToken), 400, "invalid_grant")
	if status := s.orders(got.json.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("its access token: %d", status)
	}
	late, verifier := s.code("web")
	s.wait(61 * time.Second)
	want(t, "expired", redeem(late, "web", redirectTo, verifier), 400, "invalid_grant")
}

func TestOAuthCodesAreSingleUseUnder50Tries(t *testing.T) {
	for engine, store := range map[string]func(*server.Config){
		"sqlite":   nil,
		"postgres": func(c *server.Config) { c.Store = pgtest.Database(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			s := openStandards(t, store)
			code, verifier := s.code("web")
			var tries sync.WaitGroup
			answers := make([]*oauthReply, 50)
			for i := range answers {
				tries.Go(func() {
					answers[i] = s.tokenOf("grant_type", "authorization_code", "code", code, "client_id", "web", "redirect_uri", redirectTo, "code_verifier", verifier)
				})
			}
			tries.Wait()
			granted := 0
			for _, a := range answers {
				if a.status == 200 {
					granted++
				} else if a.json.Error != "invalid_grant" {
					t.Errorf("%d %s", a.status, a.body)
				}
			}
			if granted != 1 {
				t.Errorf("granted %d times", granted)
			}
		})
	}
}

func TestOAuthAuthorizeRefusesTricks(t *testing.T) {
	s := openStandards(t, nil)
	good := map[string]string{
		"response_type": "code", "client_id": "web", "redirect_uri": redirectTo, "state": "s", "code_challenge_method": "S256",
		"code_challenge": oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier()),
	}
	for name, test := range map[string]struct {
		change, to string
		// code is what the client is told; empty is that nothing is redirected.
		code string
	}{
		"unknown client":      {"client_id", "nobody", ""},
		"no redirect":         {"redirect_uri", "", ""},
		"longer redirect":     {"redirect_uri", redirectTo + "2", ""},
		"other case":          {"redirect_uri", strings.ToUpper(redirectTo), ""},
		"path traversal":      {"redirect_uri", "https://app.example.org/done/../evil?x=1", ""},
		"user in the host":    {"redirect_uri", "https://app.example.org@evil.test/done?x=1", ""},
		"fragment":            {"redirect_uri", redirectTo + "#", ""},
		"script":              {"redirect_uri", "javascript:alert(1)", ""},
		"other port":          {"redirect_uri", "http://127.0.0.1:99/cb", ""},
		"token":               {"response_type", "token", "unsupported_response_type"},
		"no PKCE":             {"code_challenge", "", "invalid_request"},
		"PKCE plain":          {"code_challenge_method", "plain", "invalid_request"},
		"PKCE without method": {"code_challenge_method", "", "invalid_request"},
		"prompt none":         {"prompt", "none", "login_required"},
		"scope":               {"scope", "users.*", "invalid_scope"},
		"request object":      {"request", "x", "request_not_supported"},
	} {
		query := url.Values{}
		for k, v := range good {
			query.Set(k, v)
		}
		query.Set(test.change, test.to)
		r, err := http.NewRequest(http.MethodGet, s.URL(server.Public)+"/oauth2/authorize?"+query.Encode(), nil)
		s.must(err)
		got := s.do(r)
		to, _ := url.Parse(got.header.Get("Location"))
		switch {
		case test.code == "" && (got.status != 400 || to.String() != "" || !strings.Contains(got.body, `role="alert"`)):
			t.Errorf("%s: %d to %s", name, got.status, to)
		case test.code != "" && (got.status != 303 || to.Query().Get("error") != test.code || to.Query().Get("state") != "s" || to.Query().Get("iss") != issuer):
			t.Errorf("%s: %d to %s", name, got.status, to)
		}
		if strings.Contains(got.body, "nobody") || !strings.Contains(got.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: repeats input, or may be framed", name)
		}
	}
}

func TestOAuthLoginPage(t *testing.T) {
	s := openStandards(t, nil)
	address := s.config("web").AuthCodeURL(`"><script>`, oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	r, err := http.NewRequest(http.MethodGet, address, nil)
	s.must(err)
	shown := s.do(r)
	if strings.Contains(shown.body, "<script") || strings.Contains(shown.body, "<web>") || !strings.Contains(shown.body, `<label for="password">`) {
		t.Error("something is not escaped, or not labelled")
	}
	if policy := shown.header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' https://app.example.org;") || strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
	wrong := s.logIn(address, "wrong")
	if wrong.status != 422 || !strings.Contains(wrong.body, `role="alert"`) || strings.Contains(wrong.body, `value="wrong"`) || wrong.header.Get("Location") != "" {
		t.Errorf("wrong password: %d %s", wrong.status, wrong.body)
	}
	if evil := s.logIn(address, readerPW, "@Sec-Fetch-Site", "cross-site", "@Origin", "https://evil.test"); evil.status != 403 || evil.header.Get("Location") != "" {
		t.Errorf("form of another site: %d", evil.status)
	}
}

func TestOAuthIntrospectionAndRevocation(t *testing.T) {
	s := openStandards(t, nil)
	got := s.tokens("shop")
	ask := func(client, raw string) *oauthReply {
		return s.form("/oauth2/introspect", "client_id", client, "client_secret", s.secret, "token", raw)
	}
	for client, active := range map[string]bool{"shop": true, "watch": true, "away": false} {
		if a := ask(client, got.AccessToken); a.status != 200 || a.json.Active != active || !active && a.body != `{"active":false}` {
			t.Errorf("%s: %d %s", client, a.status, a.body)
		}
	}
	if a := ask("shop", s.tokens("web").AccessToken); a.body != `{"active":false}` {
		t.Errorf("token of another client: %s", a.body)
	}
	for _, raw := range []string{got.RefreshToken, "x"} {
		if a := ask("shop", raw); a.body != `{"active":false}` {
			t.Errorf("no access token: %s", a.body)
		}
	}
	want(t, "public client", s.form("/oauth2/introspect", "client_id", "web", "token", got.AccessToken), 401, "invalid_client")

	revoke := func(pairs ...string) *oauthReply { return s.form("/oauth2/revoke", pairs...) }
	want(t, "nobody revokes", revoke("token", got.RefreshToken), 401, "invalid_client")
	want(t, "another client's token", revoke("token", got.RefreshToken, "client_id", "web"), 200, "")
	want(t, "no token of ours", revoke("token", "x", "client_id", "web"), 200, "")
	if status := s.orders(got.AccessToken); status != 200 {
		t.Fatalf("ended by another client: %d", status)
	}
	want(t, "own token", revoke("token", got.RefreshToken, "client_id", "shop", "client_secret", s.secret), 200, "")
	if status := s.orders(got.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("access token of a revoked session: %d", status)
	}
	if a := ask("shop", got.AccessToken); a.body != `{"active":false}` {
		t.Errorf("after the end: %s", a.body)
	}
	byAccess := s.tokens("web")
	want(t, "by access token", revoke("token", byAccess.AccessToken, "client_id", "web"), 200, "")
	want(t, "refresh after it", s.tokenOf("grant_type", "refresh_token", "client_id", "web", "refresh_token", byAccess.RefreshToken), 400, "invalid_grant")
}

func TestOAuthMetadataNamesWhatIsServed(t *testing.T) {
	s := openStandards(t, nil)
	r, err := http.NewRequest(http.MethodGet, s.URL(server.Public)+"/.well-known/oauth-authorization-server", nil)
	s.must(err)
	got := s.do(r)
	var all map[string]any
	s.must(json.Unmarshal([]byte(got.body), &all))
	if all["issuer"] != issuer {
		t.Errorf("issuer %v", all["issuer"])
	}
	for name, value := range all {
		address, _ := value.(string)
		if !strings.HasSuffix(name, "_endpoint") {
			continue
		}
		r, err := http.NewRequest(http.MethodGet, strings.Replace(address, issuer, s.URL(server.Public), 1), nil)
		s.must(err)
		if a := s.do(r); a.status != 405 && a.status != 400 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}
