package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Each server that is measured is a process of its own: this program again, in
// a role. It prints its address when it listens.

func serveRole(role, upstream string) error {
	var handler http.Handler
	switch role {
	case "bare":
		handler = http.HandlerFunc(bareRefresh)
	case "filter":
		handler = http.HandlerFunc(bareFilter)
	case "judge":
		handler = http.HandlerFunc(bareJudge)
	case "upstream":
		handler = http.HandlerFunc(orders)
	case "proxy":
		target, err := url.Parse(upstream)
		if err != nil {
			return err
		}
		handler = tunedProxy(target)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bareAnswer is as long as a real answer with both tokens.
var bareAnswer = refreshAnswer{
	AccessToken: strings.Repeat("a", 620), RefreshToken: "cfrt_" + strings.Repeat("r", 78),
	AccessTokenExpiration: "2026-01-01T00:10:00Z", RefreshTokenExpiration: "2026-01-08T00:00:00Z", TenantID: "diku",
}

type refreshAnswer struct {
	AccessToken            string `json:"accessToken"`
	RefreshToken           string `json:"refreshToken"`
	AccessTokenExpiration  string `json:"accessTokenExpiration"`
	RefreshTokenExpiration string `json:"refreshTokenExpiration"`
	TenantID               string `json:"tenantId"`
}

// bareRefresh parses and answers the same JSON and does nothing else.
func bareRefresh(w http.ResponseWriter, r *http.Request) {
	var in struct {
		RefreshToken string `json:"refreshToken"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.RefreshToken == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(bareAnswer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(body)
}

// bareFilter answers as long headers as a real auth filter and decides nothing.
func bareFilter(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("X-Okapi-Token", bareAnswer.AccessToken)
	h.Set("X-Okapi-Permissions", `["orders.collection.get"]`)
	h.Set("X-Okapi-User-Id", "00000000-0000-4000-8000-000000000000")
	h.Set("X-Okapi-Module-Tokens", bareTokens)
	w.WriteHeader(http.StatusAccepted)
}

// bareJudge answers the headers of a verdict and decides nothing.
func bareJudge(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Okapi-Tenant", tenant)
	h.Set("X-Okapi-User-Id", "00000000-0000-4000-8000-000000000000")
	h.Set("X-Okapi-Permissions", `[]`)
	h.Set("X-Okapi-Request-Id", "821257/orders")
	h.Set("X-Okapi-Token", "")
	h.Set("X-Counterfoil-Cookie", "")
	h.Set("X-Auth-Request-User", "00000000-0000-4000-8000-000000000000")
	h.Set("X-Auth-Request-Preferred-Username", "user")
	w.WriteHeader(http.StatusOK)
}

var bareTokens = `{"` + module + `":"` + strings.Repeat("m", 620) + `","_":"` + bareAnswer.AccessToken + `"}`

var kilobyte = []byte(`{"orders":"` + strings.Repeat("x", 1010) + `"}`)

// orders is the module behind the proxies: 1 KiB of JSON.
func orders(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(kilobyte)
}

// buffers reuses the copy buffers of the proxy.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

// tunedProxy is what a careful engineer gets out of the standard library.
func tunedProxy(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		},
		BufferPool: &buffers{},
		ErrorLog:   log.Default(),
	}
}
