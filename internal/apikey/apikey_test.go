package apikey

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sample is the key of edge-common's own documentation.
const sample = "eyJzIjoiblo1NkYzTGVBYSIsInQiOiJkaWt1IiwidSI6ImRpa3UifQ=="

func edge(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func hasher(t *testing.T, master byte) *Hasher {
	t.Helper()
	h, err := NewHasher(bytes.Repeat([]byte{master}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestOwnKeysAreDrawnAndFoundByScanners(t *testing.T) {
	form := regexp.MustCompile(`^cfak_[0-9A-Za-z]{49}$`)
	seen := map[string]bool{}
	letters := map[rune]bool{}
	for range 1000 {
		secret, text := Generate()
		if !form.MatchString(text) || seen[text] {
			t.Fatalf("%q", text)
		}
		seen[text] = true
		for _, c := range text[len(Prefix) : len(text)-checksum] {
			letters[c] = true
		}
		again, err := Parse(text)
		if err != nil || again != secret || again.Kind != Own {
			t.Fatalf("%v", err)
		}
	}
	if len(letters) != len(alphabet) {
		t.Errorf("%d of %d letters were drawn", len(letters), len(alphabet))
	}
}

func TestMistypedKeysAreNone(t *testing.T) {
	_, text := Generate()
	for i := range text {
		changed := []byte(text)
		changed[i] ^= 1
		if _, err := Parse(string(changed)); !errors.Is(err, ErrForm) {
			t.Errorf("with another character %d: %v", i, err)
		}
		if _, err := Parse(text[:i]); !errors.Is(err, ErrForm) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := Parse(text + "0"); !errors.Is(err, ErrForm) {
		t.Error("with more behind it")
	}
}

func TestEdgeKeysAreReadAsEdgeCommonDoes(t *testing.T) {
	for _, text := range []string{sample, strings.TrimRight(sample, "="), edge(`{ "u":"diku","s":"nZ56F3LeAa", "t":"diku"}`)} {
		s, err := Parse(text)
		if err != nil || s.Kind != Edge || s.Tenant != "diku" || s.Username != "diku" || s.text != "nZ56F3LeAa" {
			t.Errorf("%s: %v", text, err)
		}
		h := hasher(t, 1)
		if want, _ := Parse(sample); h.Hash(s) != h.Hash(want) {
			t.Error("how it is written counts")
		}
	}
	// A key with a dash, where edge-common's pattern for the header cuts it.
	dashed := edge(`{"s":"?>?>?>?>?>?>?>","t":"diku","u":"gobi>"}`)
	if s, err := Parse(dashed); !strings.ContainsAny(dashed, "-_") || err != nil || s.Username != "gobi>" {
		t.Errorf("%s: %v", dashed, err)
	}
}

func TestT36EdgeKeysAreReadStrictly(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"no base64":       "eyJ!",
		"other alphabet":  "eyJzIjoiPz8/Pz8+Pj4+Pj8/IiwidCI6ImRpa3UiLCJ1IjoiZGlrdSJ9+/",
		"no salt":         edge(`{"s":"","t":"diku","u":"diku"}`),
		"no tenant":       edge(`{"s":"nZ56F3LeAa","u":"diku"}`),
		"null":            edge(`{"s":null,"t":"diku","u":"diku"}`),
		"number":          edge(`{"s":1234567890,"t":"diku","u":"diku"}`),
		"twice":           edge(`{"s":"nZ56F3LeAa","s":"nZ56F3LeAb","t":"diku","u":"diku"}`),
		"other case":      edge(`{"S":"nZ56F3LeAa","t":"diku","u":"diku"}`),
		"more":            edge(`{"s":"nZ56F3LeAa","t":"diku","u":"diku","x":1}`),
		"trailing":        edge(`{"s":"nZ56F3LeAa","t":"diku","u":"diku"}{}`),
		"list":            edge(`["nZ56F3LeAa","diku","diku"]`),
		"zero character":  edge(`{"s":"nZ56F3LeAa","t":"di\u0000ku","u":"diku"}`),
		"bad UTF-8":       edge("{\"s\":\"nZ56F3LeA\xff\",\"t\":\"diku\",\"u\":\"diku\"}"),
		"long":            edge(`{"s":"` + strings.Repeat("x", maxEdge) + `","t":"diku","u":"diku"}`),
		"deep":            edge(`{"s":` + strings.Repeat("[", 500)),
		"a JWT":           "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
		"own, other case": "CFAK_" + strings.Repeat("0", 49),
	} {
		if _, err := Parse(text); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever reads the database cannot present what is there, and whoever writes
// to it cannot put a key there that the program takes.
func TestT3HashesNeedAKeyThatIsNotInTheDatabase(t *testing.T) {
	secret, _ := Generate()
	other, _ := Generate()
	if hasher(t, 1).Hash(secret) == hasher(t, 2).Hash(secret) || hasher(t, 1).Hash(secret) == hasher(t, 1).Hash(other) {
		t.Error("same hash")
	}
	// No two edge keys share one, however their fields are cut.
	seen := map[Hash]string{}
	for _, text := range []string{
		`{"s":"0123456789","t":"ab","u":"c"}`, `{"s":"0123456789","t":"a","u":"bc"}`, `{"s":"0123456789a","t":"b","u":"c"}`, `{"s":"edge","t":"ab","u":"c"}`,
	} {
		s, err := Parse(edge(text))
		if err != nil {
			t.Fatal(err)
		}
		h := hasher(t, 1).Hash(s)
		if seen[h] != "" {
			t.Errorf("%s and %s", text, seen[h])
		}
		seen[h] = text
	}
}

func TestT2SecretsAreNotPrinted(t *testing.T) {
	secret, text := Generate()
	edge, _ := Parse(sample)
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	for _, s := range []Secret{secret, edge} {
		fmt.Fprintf(&b, "%v %+v %#v %s %q", s, s, s, s, s)
		log.Info("x", "key", s)
	}
	for _, hidden := range []string{text, text[10:20], "nZ56F3LeAa"} {
		if strings.Contains(b.String(), hidden) {
			t.Errorf("%q is in %s", hidden, b.String())
		}
	}
	for path, want := range map[string]string{
		"/oai/" + sample:           "/oai/(key)",
		"/oai/" + sample + "/x":    "/oai/(key)/x",
		"/oai/" + text:             "/oai/(key)",
		"/oai/" + text[:30]:        "/oai/(key)",
		"/eyre/jane":               "/eyre/jane",
		"/orders/order-lines/1234": "/orders/order-lines/1234",
	} {
		if got := Redact(path); got != want {
			t.Errorf("%s became %s", path, got)
		}
	}
}

func TestWhatCanBeImported(t *testing.T) {
	own, _ := Generate()
	good, _ := Parse(sample)
	short, err := Parse(edge(`{"s":"123456789","t":"diku","u":"diku"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := good.Importable(); err != nil {
		t.Error(err)
	}
	if own.Importable() == nil || short.Importable() == nil {
		t.Error("a guessable key, or one that was not made here")
	}
}

func TestStatesOfAKey(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	hash, old := Hash{1}, Hash{2}
	for name, test := range map[string]struct {
		change     func(*Key)
		want       State
		first, old bool
	}{
		"active":                {func(*Key) {}, Active, true, true},
		"overlap over":          {func(k *Key) { k.OldUntil = now }, Active, true, false},
		"expires now":           {func(k *Key) { k.ExpiresAt = now }, Expired, false, false},
		"expires later":         {func(k *Key) { k.ExpiresAt = now.Add(1) }, Active, true, true},
		"stopped":               {func(k *Key) { k.StoppedAt = now }, Stopped, false, false},
		"revoked":               {func(k *Key) { k.RevokedAt = now.Add(-1) }, Revoked, false, false},
		"rotated with overlap":  {func(k *Key) { k.Rotate(Hash{3}, now, time.Hour) }, Active, true, false},
		"rotated without":       {func(k *Key) { k.Rotate(Hash{3}, now, 0) }, Active, false, false},
		"rotated, overlap over": {func(k *Key) { k.Rotate(Hash{3}, now.Add(-time.Hour), time.Hour) }, Active, false, false},
	} {
		k := Key{Hash: hash, OldHash: old, OldUntil: now.Add(time.Minute)}
		test.change(&k)
		if k.State(now) != test.want || k.Accepts(hash, now) != test.first || k.Accepts(old, now) != test.old || k.Accepts(Hash{}, now) {
			t.Errorf("%s: %s, %v, %v", name, k.State(now), k.Accepts(hash, now), k.Accepts(old, now))
		}
	}
	none := Key{Hash: hash}
	if none.Accepts(Hash{}, now) {
		t.Error("no secret opens a key without an old one")
	}
}

func TestRoutesOfAScope(t *testing.T) {
	for route, paths := range map[string]map[string]bool{
		"POST /gobi/orders": {
			"POST /gobi/orders": true, "GET /gobi/orders": false, "POST /gobi/orders/": false, "POST /gobi/orders/1": false,
			"POST /gobi": false, "POST /gobi/ordersx": false, "POST /GOBI/orders": false, "POST /gobi%2Forders": false,
		},
		"GET /orders/{id}": {
			"GET /orders/1": true, "HEAD /orders/1": true, "GET /orders/": false, "GET /orders": false, "GET /orders/1/x": false, "GET /orders/1%2Fx": true,
		},
		"* /orders/*": {
			"PUT /orders/1/2": true, "DELETE /orders/": true, "GET /orders": false, "GET /ordersx/1": false,
		},
		"* /*":  {"GET /": true, "POST /a/b/c": true},
		"GET /": {"GET /": true, "GET /a": false},
	} {
		r, err := ParseRoute(route)
		if err != nil {
			t.Errorf("%s: %v", route, err)
		}
		for request, want := range paths {
			method, path, _ := strings.Cut(request, " ")
			if r.Matches(method, path) != want {
				t.Errorf("%s for %s: %v", route, request, !want)
			}
		}
		if r.String() != route {
			t.Errorf("%s reads %s", route, r)
		}
	}
	for _, bad := range []string{"", "GET", "GET orders", "TRACE /x", "GET /a*", "GET /*/b", "GET /a/{}", "GET /a/{b}c", "GET /a?b=c", "GET /a%20b", "GET /a/../b", "GET /a//b", "GET /a/"} {
		if r, err := ParseRoute(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is %+v, %v", bad, r, err)
		}
	}
}

func TestScopesAreSaidInFull(t *testing.T) {
	all := []Route{{"*", "/*"}}
	for name, s := range map[string]Scope{
		"no route":          {Permissions: []string{"a"}},
		"no permission":     {Routes: all},
		"* and more":        {Routes: all, Permissions: []string{"*", "a"}},
		"a bad route":       {Routes: []Route{{"GET", "x"}}, Permissions: []string{"a"}},
		"too many to check": {Routes: make([]Route, maxRoutes+1), Permissions: []string{"a"}},
	} {
		if err := s.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Scope{Routes: all, Permissions: []string{Everything}}).Check(); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	_, own := Generate()
	f.Add(sample)
	f.Add(own)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if (err == nil) == s.IsZero() || err != nil && !errors.Is(err, ErrForm) {
			t.Errorf("%v", err)
		}
		if err == nil && s.Kind == Edge && (s.Tenant == "" || s.Username == "" || s.text == "") {
			t.Error("a field is empty")
		}
		Redact("/" + text)
	})
}
