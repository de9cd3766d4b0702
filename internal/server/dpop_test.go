package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// prover makes DPoP proofs with go-jose.
type prover struct {
	o   *office
	key *ecdsa.PrivateKey
	// thumbprint is go-jose's.
	thumbprint string
}

func (o *office) prover() *prover {
	o.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	o.must(err)
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	o.must(err)
	return &prover{o, key, base64.RawURLEncoding.EncodeToString(sum)}
}

// proof is one for a request; claims change it, and nil leaves a claim out.
func (p *prover) proof(method, path, access string, change map[string]any) string {
	p.o.t.Helper()
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": issuer + path, "iat": p.o.Store().Now().Unix()}
	if access != "" {
		sum := sha256.Sum256([]byte(access))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	for name, value := range change {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	p.o.must(err)
	payload, err := json.Marshal(claims)
	p.o.must(err)
	signed, err := signer.Sign(payload)
	p.o.must(err)
	text, err := signed.CompactSerialize()
	p.o.must(err)
	return text
}

func (p *prover) atToken() string { return p.proof("POST", "/oauth2/token", "", nil) }

// boundTokens logs in and redeems the code with a proof.
func (s *standards) boundTokens(client string, p *prover) *oauthReply {
	s.t.Helper()
	code, verifier := s.code(client)
	got := s.redeemBound(client, code, verifier, p.atToken())
	want(s.t, "code with a proof", got, 200, "")
	return got
}

func (s *standards) redeemBound(client, code, verifier, proof string) *oauthReply {
	s.t.Helper()
	pairs := []string{"grant_type", "authorization_code", "code", code, "client_id", client, "redirect_uri", redirectTo, "code_verifier", verifier}
	if proof != "" {
		pairs = append(pairs, "@DPoP", proof)
	}
	return s.tokenOf(pairs...)
}

func (s *standards) refreshBound(client, token, proof string) *oauthReply {
	s.t.Helper()
	pairs := []string{"grant_type", "refresh_token", "refresh_token", token, "client_id", client}
	if proof != "" {
		pairs = append(pairs, "@DPoP", proof)
	}
	return s.tokenOf(pairs...)
}

// call asks for the orders with headers, each name followed by its value.
func (s *standards) call(header ...string) *reply {
	s.t.Helper()
	got, err := s.send(http.MethodGet, s.URL(server.Public)+"/orders", nil, append([]string{"X-Okapi-Tenant", "diku"}, header...)...)
	s.must(err)
	return got
}

func (s *standards) callBound(access, proof string) *reply {
	return s.call("Authorization", "DPoP "+access, "DPoP", proof)
}

func TestT74DPoPTokensAreWorthNothingWithoutTheirKey(t *testing.T) {
	s := openStandards(t, nil)
	mine, other := s.prover(), s.prover()
	got := s.boundTokens("web", mine)
	access := got.json.AccessToken
	if !strings.Contains(got.body, `"token_type":"DPoP"`) || s.claims(access).Confirm != token.ConfirmKey(mine.thumbprint) {
		t.Fatalf("%s", got.body)
	}
	// DP-4: the token is not taken for one that anybody may show.
	for name, header := range map[string][]string{
		"Bearer":        {"Authorization", "Bearer " + access},
		"no scheme":     {"Authorization", access},
		"X-Okapi-Token": {"X-Okapi-Token", access},
		"cookie":        {"Cookie", "folioAccessToken=" + access},
		"with a proof":  {"Authorization", "Bearer " + access, "DPoP", mine.proof("GET", "/orders", access, nil)},
	} {
		a := s.call(header...)
		if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `DPoP error="invalid_token", algs="ES256 `) || !strings.Contains(string(a.body), "TOKEN_UNPROVED") {
			t.Errorf("%s: %d %s %s", name, a.status, a.header.Get("WWW-Authenticate"), a.body)
		}
	}
	if a := s.call("Authorization", "DPoP "+access); a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), "invalid_dpop_proof") {
		t.Errorf("no proof: %d %s", a.status, a.body)
	}
	if a := s.call("Authorization", "DPoP "+access, "X-Okapi-Token", access, "DPoP", mine.proof("GET", "/orders", access, nil)); a.status != 400 {
		t.Errorf("twice: %d %s", a.status, a.body)
	}
	proof := mine.proof("GET", "/orders", access, nil)
	if a := s.callBound(access, proof); a.status != 200 {
		t.Errorf("with proof: %d %s", a.status, a.body)
	}
	if a := s.callBound(access, proof); a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), "invalid_dpop_proof") {
		t.Errorf("the proof again: %d %s", a.status, a.body)
	}
	if a := s.callBound(access, other.proof("GET", "/orders", access, nil)); a.status != 401 {
		t.Errorf("another key: %d", a.status)
	}
	unbound := s.tokens("web").AccessToken
	if a := s.callBound(unbound, mine.proof("GET", "/orders", unbound, nil)); a.status != 401 {
		t.Errorf("an unbound token as DPoP: %d", a.status)
	}
	// Endpoints of our own are behind the same check.
	if a, err := s.send(http.MethodGet, s.URL(server.Public)+"/authn/sessions/_self", nil, "X-Okapi-Token", access, "X-Okapi-Tenant", "diku"); err != nil || a.status != 401 {
		t.Errorf("own sessions: %d %v", a.status, err)
	}
	told := s.form("/oauth2/introspect", "client_id", "watch", "client_secret", s.secret, "token", access)
	if !strings.Contains(told.body, `"cnf":{"jkt":"`+mine.thumbprint+`"}`) || !strings.Contains(told.body, `"token_type":"DPoP"`) {
		t.Errorf("introspection: %s", told.body)
	}
	s.wait(11 * time.Minute)
	if a := s.callBound(access, mine.proof("GET", "/orders", access, nil)); a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `DPoP error="invalid_token"`) || !strings.Contains(string(a.body), "TOKEN_EXPIRED") {
		t.Errorf("expired: %d %v %s", a.status, a.header, a.body)
	}
}

// DP-1, M-2: a stolen refresh token is refused, and its owner notices nothing.
func TestT74BoundRefreshTokensNeedTheirKey(t *testing.T) {
	s := openStandards(t, nil)
	mine, thief := s.prover(), s.prover()
	first := s.boundTokens("web", mine).json.RefreshToken
	want(t, "without proof", s.refreshBound("web", first, ""), 400, "invalid_grant")
	want(t, "another key", s.refreshBound("web", first, thief.atToken()), 400, "invalid_grant")
	if a := s.refresh(first); a.status != 422 {
		t.Errorf("/authn/refresh: %d", a.status)
	}
	if n := s.told(audit.BindingMismatch); n == 0 {
		t.Error("nobody is told")
	}
	next := s.refreshBound("web", first, mine.atToken())
	want(t, "its owner", next, 200, "")
	if next.json.RefreshToken == first || !strings.Contains(next.body, `"token_type":"DPoP"`) {
		t.Errorf("something had been consumed: %s", next.body)
	}
	// Also an old token without its key is no strike, and ends nothing.
	s.wait(time.Minute)
	again := s.refreshBound("web", next.json.RefreshToken, mine.atToken())
	want(t, "later", again, 200, "")
	for range 6 {
		want(t, "old, without proof", s.refreshBound("web", first, ""), 400, "invalid_grant")
		want(t, "old, another key", s.refreshBound("web", first, thief.atToken()), 400, "invalid_grant")
	}
	s.wait(time.Minute)
	want(t, "its owner still", s.refreshBound("web", again.json.RefreshToken, mine.atToken()), 200, "")
	// A session that is not bound is not taken over by somebody's key.
	free := s.tokens("web").RefreshToken
	bound := s.refreshBound("web", free, thief.atToken())
	if bound.status != 200 || s.claims(bound.json.AccessToken).Confirm != token.ConfirmKey(thief.thumbprint) {
		t.Errorf("proof for a free session: %s", bound.body)
	}
	want(t, "the free session stays so", s.refreshBound("web", bound.json.RefreshToken, ""), 200, "")
}

// DP-2: one claim at a time, at both places. Nothing is consumed.
func TestT75DPoPProofsAreRefusedOneMutationAtATime(t *testing.T) {
	s := openStandards(t, nil)
	mine := s.prover()
	got := s.boundTokens("web", mine)
	now := s.Store().Now().Unix()
	changes := map[string]map[string]any{
		"no jti": {"jti": nil}, "empty jti": {"jti": ""}, "no htm": {"htm": nil}, "other htm": {"htm": "PUT"}, "htm in small letters": {"htm": "post"},
		"no htu": {"htu": nil}, "other path": {"htu": issuer + "/oauth2/revoke"}, "other host": {"htu": "https://evil.example.org/oauth2/token"},
		"other scheme": {"htu": "http://folio.example.org/oauth2/token"}, "other port": {"htu": issuer + ":444/oauth2/token"}, "no URL": {"htu": "/oauth2/token"},
		"user in URL": {"htu": "https://x@folio.example.org/oauth2/token"}, "slash more": {"htu": issuer + "/oauth2/token/"},
		"no iat": {"iat": nil}, "old": {"iat": now - 62}, "of tomorrow": {"iat": now + 62}, "foreign nonce": {"nonce": "x"},
	}
	for name, change := range changes {
		code := "invalid_dpop_proof"
		if name == "foreign nonce" {
			code = "use_dpop_nonce"
		}
		want(t, name, s.refreshBound("web", got.json.RefreshToken, mine.proof("POST", "/oauth2/token", "", change)), 400, code)
	}
	good := mine.atToken()
	want(t, "two in one header", s.refreshBound("web", got.json.RefreshToken, good+","+mine.atToken()), 400, "invalid_dpop_proof")
	r := []string{"grant_type", "refresh_token", "refresh_token", got.json.RefreshToken, "client_id", "web"}
	want(t, "two headers", s.formTwice(good, mine.atToken(), r...), 400, "invalid_dpop_proof")
	want(t, "flipped", s.refreshBound("web", got.json.RefreshToken, good[:len(good)-4]+"AAAA"), 400, "invalid_dpop_proof")
	// Written in other ways, the URL is the same.
	for _, url := range []string{"HTTPS://FOLIO.example.org:443/oauth2/token", issuer + "/oauth2/%74oken", issuer + "/oauth2/token?x#y"} {
		want(t, url, s.refreshBound("web", got.json.RefreshToken, mine.proof("POST", "", "", map[string]any{"htu": url})), 200, "")
	}
	access := got.json.AccessToken
	for name, change := range map[string]map[string]any{
		"no ath": {"ath": nil}, "other ath": {"ath": token.AccessHash("x")}, "other htm": {"htm": "POST"}, "other htu": {"htu": issuer + "/users"},
		"the token endpoint's": {"htu": issuer + "/oauth2/token", "htm": "POST"}, "old": {"iat": now - 62}, "no jti": {"jti": nil}, "of tomorrow": {"iat": now + 62},
	} {
		if a := s.callBound(access, mine.proof("GET", "/orders", access, change)); a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), `DPoP error="invalid_dpop_proof"`) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := s.callBound(access, mine.proof("GET", "/orders", access, nil)); a.status != 200 {
		t.Errorf("not mutated: %d %s", a.status, a.body)
	}
}

// formTwice sends two DPoP headers.
func (s *standards) formTwice(one, two string, pairs ...string) *oauthReply {
	s.t.Helper()
	body := ""
	for i := 0; i+1 < len(pairs); i += 2 {
		body += "&" + pairs[i] + "=" + pairs[i+1]
	}
	r, err := http.NewRequest(http.MethodPost, s.URL(server.Public)+"/oauth2/token", strings.NewReader(body[1:]))
	s.must(err)
	r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Dpop": {one, two}}
	return s.do(r)
}

func TestDPoPCodesAreBoundToKeys(t *testing.T) {
	s := openStandards(t, nil)
	mine, other := s.prover(), s.prover()
	ask := func(jkt string) (code, verifier string) {
		c := s.config("web")
		c.Endpoint.AuthURL += "?dpop_jkt=" + jkt
		return s.codeFrom(c)
	}
	code, verifier := ask(mine.thumbprint)
	want(t, "without proof", s.redeemBound("web", code, verifier, ""), 400, "invalid_grant")
	want(t, "another key", s.redeemBound("web", code, verifier, other.atToken()), 400, "invalid_grant")
	proof := mine.atToken()
	got := s.redeemBound("web", code, verifier, proof)
	want(t, "the key", got, 200, "")
	want(t, "the same proof again", s.refreshBound("web", got.json.RefreshToken, proof), 400, "invalid_dpop_proof")
	// A stolen code ends nothing where it is bound to a key that is not there.
	want(t, "stolen afterwards", s.redeemBound("web", code, verifier, other.atToken()), 400, "invalid_grant")
	want(t, "the session", s.refreshBound("web", got.json.RefreshToken, mine.atToken()), 200, "")
	// Where the code was bound to none, whoever comes second ends what the first got.
	free, verifier := s.code("web")
	thief := s.redeemBound("web", free, verifier, other.atToken())
	want(t, "a thief is first", thief, 200, "")
	want(t, "the owner", s.redeemBound("web", free, verifier, mine.atToken()), 400, "invalid_grant")
	want(t, "what the thief got", s.refreshBound("web", thief.json.RefreshToken, other.atToken()), 400, "invalid_grant")

	address := s.config("web").AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)) + "&dpop_jkt=short"
	r, err := http.NewRequest(http.MethodGet, address, nil)
	s.must(err)
	if a := s.do(r); !strings.Contains(a.header.Get("Location"), "error=invalid_request") {
		t.Errorf("no thumbprint: %d %s", a.status, a.header.Get("Location"))
	}
}

func TestDPoPIsNeededWhereAClientHasIt(t *testing.T) {
	s := openStandards(t, func(c *server.Config) {
		c.OAuth.Clients[0].DPoP, c.OAuth.Clients[2].DPoP = true, true
	})
	mine := s.prover()
	code, verifier := s.code("web")
	want(t, "code without proof", s.redeemBound("web", code, verifier, ""), 400, "invalid_dpop_proof")
	want(t, "then with one", s.redeemBound("web", code, verifier, mine.atToken()), 200, "")
	grant := []string{"grant_type", "client_credentials", "client_id", "shop", "client_secret", s.secret}
	want(t, "credentials", s.tokenOf(grant...), 400, "invalid_dpop_proof")
	got := s.tokenOf(append(grant, "@DPoP", mine.atToken())...)
	want(t, "credentials with proof", got, 200, "")
	if a := s.callBound(got.json.AccessToken, mine.proof("GET", "/orders", got.json.AccessToken, nil)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// The client comes first: who does not prove that hears nothing else.
	want(t, "wrong secret", s.tokenOf("grant_type", "client_credentials", "client_id", "shop", "client_secret", "x", "@DPoP", "x"), 401, "invalid_client")
}

// DP-3.
func TestDPoPNonces(t *testing.T) {
	yes := true
	s := openStandards(t, func(c *server.Config) { c.Policy.ProofNonce = &yes })
	mine := s.prover()
	code, verifier := s.code("web")
	no := s.redeemBound("web", code, verifier, mine.atToken())
	want(t, "without nonce", no, 400, "use_dpop_nonce")
	nonce := map[string]any{"nonce": no.header.Get("DPoP-Nonce")}
	got := s.redeemBound("web", code, verifier, mine.proof("POST", "/oauth2/token", "", nonce))
	want(t, "with it", got, 200, "")
	if got.header.Get("DPoP-Nonce") == "" {
		t.Error("no nonce for the next one")
	}
	access := got.json.AccessToken
	a := s.callBound(access, mine.proof("GET", "/orders", access, nil))
	if a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), "use_dpop_nonce") || a.header.Get("DPoP-Nonce") == "" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	nonce["nonce"] = a.header.Get("DPoP-Nonce")
	if a := s.callBound(access, mine.proof("GET", "/orders", access, nonce)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.wait(11 * time.Minute)
	want(t, "old nonce", s.refreshBound("web", got.json.RefreshToken, mine.proof("POST", "/oauth2/token", "", nonce)), 400, "use_dpop_nonce")
}

func TestDPoPTokensAreExchangedWithTheirKey(t *testing.T) {
	s := openStandards(t, nil)
	mine, thief := s.prover(), s.prover()
	access := s.boundTokens("other", mine).json.AccessToken
	exchange := func(proof string) *oauthReply {
		pairs := []string{
			"grant_type", session.GrantExchange, "client_id", "other", "subject_token", access, "scope", "orders.collection.get",
			"subject_token_type", "urn:ietf:params:oauth:token-type:access_token",
		}
		if proof != "" {
			pairs = append(pairs, "@DPoP", proof)
		}
		return s.tokenOf(pairs...)
	}
	want(t, "without proof", exchange(""), 400, "invalid_request")
	want(t, "another key", exchange(thief.atToken()), 400, "invalid_request")
	got := exchange(mine.atToken())
	want(t, "the key", got, 200, "")
	if s.claims(got.json.AccessToken).Confirm != token.ConfirmKey(mine.thumbprint) {
		t.Error("the new token is not bound")
	}
}

// once counts how many of 50 tries at the same time are granted.
func once(t *testing.T, try func(i int) *oauthReply, refusals ...string) {
	t.Helper()
	var tries sync.WaitGroup
	answers := make([]*oauthReply, 50)
	for i := range answers {
		tries.Go(func() { answers[i] = try(i) })
	}
	tries.Wait()
	granted := 0
	for _, a := range answers {
		switch {
		case a.status == 200:
			granted++
		case !strings.Contains(strings.Join(refusals, " "), a.json.Error):
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if granted != 1 {
		t.Errorf("granted %d times", granted)
	}
}

func TestT75DPoPProofsAndCodesAreSingleUseUnder50Tries(t *testing.T) {
	single := func(t *testing.T, nodes []*standards) {
		s := nodes[0]
		mine := s.prover()
		// Each try is a session of its own: only the proof is the same.
		proof := mine.atToken()
		once(t, func(i int) *oauthReply {
			return nodes[i%len(nodes)].tokenOf("grant_type", "client_credentials", "client_id", "shop", "client_secret", nodes[i%len(nodes)].secret, "@DPoP", proof)
		}, "invalid_dpop_proof")
		code, verifier := s.code("web")
		proofs := make([]string, 50)
		for i := range proofs {
			proofs[i] = mine.atToken()
		}
		once(t, func(i int) *oauthReply { return nodes[i%len(nodes)].redeemBound("web", code, verifier, proofs[i]) }, "invalid_grant")
	}
	t.Run("sqlite", func(t *testing.T) { single(t, []*standards{openStandards(t, nil)}) })
	t.Run("three nodes", func(t *testing.T) { single(t, openStandardsCluster(t)) })
}

// openStandardsCluster is openStandards on three nodes with one database.
func openStandardsCluster(t *testing.T) []*standards {
	t.Helper()
	secret, hash := session.NewClientSecret()
	var nodes []*standards
	for _, node := range openCluster(t, 3, func(c *server.Config) { configureStandards(t, c, hash, nil) }) {
		s := &standards{office: node, secret: secret}
		s.ready()
		nodes = append(nodes, s)
	}
	nodes[0].reach()
	return nodes
}

// who proves a key may keep the refresh token.
func TestDPoPSessionsMayKeepTheirRefreshToken(t *testing.T) {
	yes := true
	s := openStandards(t, func(c *server.Config) { c.Policy.BoundKeep = &yes })
	mine, thief := s.prover(), s.prover()
	rt := s.boundTokens("web", mine).json.RefreshToken
	// Longer than a session lives that nobody uses.
	for range 10 {
		s.wait(24 * time.Hour)
		got := s.refreshBound("web", rt, mine.atToken())
		want(t, "kept", got, 200, "")
		if got.json.RefreshToken != rt {
			t.Fatalf("rotated: %s", got.body)
		}
		if a := s.callBound(got.json.AccessToken, mine.proof("GET", "/orders", got.json.AccessToken, nil)); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		want(t, "stolen", s.refreshBound("web", rt, thief.atToken()), 400, "invalid_grant")
	}
	free := s.tokens("web").RefreshToken
	if got := s.refreshBound("web", free, ""); got.json.RefreshToken == free {
		t.Error("a token that is bound to no key is kept, too")
	}
	s.wait(8 * 24 * time.Hour)
	want(t, "unused for too long", s.refreshBound("web", rt, mine.atToken()), 400, "invalid_grant")
}

func TestDPoPSessionsHaveALongerWindow(t *testing.T) {
	grace := session.Duration(time.Minute)
	none := 0
	s := openStandards(t, func(c *server.Config) { c.Policy.BoundGrace, c.Policy.LateBudget = &grace, &none })
	mine := s.prover()
	bound, free := s.boundTokens("web", mine).json.RefreshToken, s.tokens("web").RefreshToken
	lost := s.refreshBound("web", bound, mine.atToken())
	want(t, "whose answer is lost", lost, 200, "")
	want(t, "the same without a key", s.refreshBound("web", free, ""), 200, "")
	s.wait(50 * time.Second)
	again := s.refreshBound("web", bound, mine.atToken())
	want(t, "in the window", again, 200, "")
	if again.json.RefreshToken != lost.json.RefreshToken {
		t.Error("another successor")
	}
	want(t, "out of it", s.refreshBound("web", free, ""), 400, "invalid_grant")
}
