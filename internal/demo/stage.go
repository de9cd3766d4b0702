package demo

import (
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// The page. Its scripts are built from browser/ by "make demo-page", and
// committed, so that the demonstration needs Go and nothing else.
//
//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page load what is its own and nothing else: no inline
// script or style, no other host.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// stage is where the page plays: it serves the page before the program's own
// public listener, and does what networks, operators and thieves do.
type stage struct {
	server *server.Server
	next   http.Handler
	page   *http.ServeMux
	thief  *http.Client
}

func newStage(s *server.Server, next http.Handler) *stage {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	st := &stage{server: s, next: next, page: http.NewServeMux(), thief: &http.Client{Timeout: 10 * time.Second}}
	guard := s.Gateway().Guard(false)
	st.page.Handle("GET /demo/", http.StripPrefix("/demo/", http.FileServerFS(files)))
	st.page.HandleFunc("GET /demo/settings", st.settings)
	st.page.HandleFunc("GET /demo/ledger", st.ledger)
	st.page.Handle("GET /demo/session", guard(nil, func(w http.ResponseWriter, _ *http.Request, caller session.Caller) {
		answer(w, http.StatusOK, map[string]string{"session": caller.Claims.Session.String()})
	}))
	st.page.Handle("POST /demo/revoke", guard(nil, st.revoke))
	st.page.Handle("POST /demo/steal", guard(nil, st.steal))
	return st
}

func (st *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/demo" || strings.HasPrefix(r.URL.Path, "/demo/"):
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		st.page.ServeHTTP(w, r)
	case r.Method == http.MethodPost && r.URL.Path == "/authn/refresh" && r.Header.Get(misfortuneHeader) != "":
		st.misfortune(w, r)
	default:
		st.next.ServeHTTP(w, r)
	}
}

// misfortuneHeader names what is to happen to a refresh on its way. The page
// sends it with the request itself, so that two pages do not meet each other's
// misfortunes.
const misfortuneHeader = "X-Counterfoil-Demo"

func (st *stage) misfortune(w http.ResponseWriter, r *http.Request) {
	switch r.Header.Get(misfortuneHeader) {
	case "lose-answer":
		st.next.ServeHTTP(&lost{header: make(http.Header)}, r)
		panic(http.ErrAbortHandler) // closes the connection, as a broken network would
	case "lose-request":
		panic(http.ErrAbortHandler)
	case "unavailable":
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, map[string]string{"message": "not now, says the demonstration"})
	default:
		answer(w, http.StatusBadRequest, map[string]string{"message": misfortuneHeader + " is lose-answer, lose-request or unavailable"})
	}
}

// lost is an answer that nobody gets.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}

// settings is what the page must know before anybody has logged in. Times are
// in milliseconds.
func (st *stage) settings(w http.ResponseWriter, _ *http.Request) {
	type user struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	var users []user
	for _, one := range seedUsers {
		users = append(users, user{one.user.Username, one.password})
	}
	policy := st.server.Sessions().Policies.For(tenant, session.ClientWeb, "")
	rule := policy.Rule()
	answer(w, http.StatusOK, map[string]any{
		"tenant": tenant, "users": users, "accessTTL": policy.AccessTTL.Milliseconds(),
		"grace": rule.Grace.Milliseconds(), "floor": rule.Floor.Milliseconds(), "heal": rule.Heal.Milliseconds(),
	})
}

// revoke ends the caller's session as an operator does at the console.
func (st *stage) revoke(w http.ResponseWriter, r *http.Request, caller session.Caller) {
	ctx := audit.WithActor(r.Context(), &audit.Actor{Kind: "operator", Name: "operator at the console"})
	if _, err := st.server.Sessions().Revoke(ctx, caller.Claims.Session); err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]string{"message": "not revoked, try again"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// robbery is what came of a theft.
type robbery struct {
	// Presented and Newest are generations.
	Presented uint64 `json:"presented"`
	Newest    uint64 `json:"newest"`
	// Status and Reason are what the gateway answered the thief.
	Status int    `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// steal plays a thief who copied the cookie jar before its last refresh and now
// uses what he has, from elsewhere. Nobody keeps a token for him: that of a
// generation is always the same and can be made again.
//
// It answers 409 while there is nothing to steal, or while the grace lasts, in
// which the old token would be answered like its owner's.
func (st *stage) steal(w http.ResponseWriter, r *http.Request, caller session.Caller) {
	row, err := st.server.Sessions().Session(r.Context(), caller.Claims.Session)
	if err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]string{"message": "the session cannot be read, try again"})
		return
	}
	if row.Gen < 2 {
		answer(w, http.StatusConflict, map[string]string{"message": "no token has been replaced yet, so no copy is old"})
		return
	}
	rule := st.server.Sessions().Policies.For(row.Tenant, row.Client, row.UserID).Rule()
	if st.server.Store().Now().Sub(row.WindowAt) < rule.Grace {
		answer(w, http.StatusConflict, map[string]string{"message": "the old token is still within its grace"})
		return
	}
	got := robbery{Presented: row.Gen - 1, Newest: row.Gen}
	stolen := st.server.Tokens().MintRefresh(row.Binding(), got.Presented)
	if got.Status, got.Reason, err = st.present(r, stolen); err != nil {
		answer(w, http.StatusBadGateway, map[string]string{"message": "the thief got no answer"})
		return
	}
	answer(w, http.StatusOK, got)
}

// present sends a refresh token as a program elsewhere would.
func (st *stage) present(r *http.Request, stolen string) (status int, reason string, err error) {
	body, err := json.Marshal(map[string]string{"refreshToken": stolen})
	if err != nil {
		return 0, "", err
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, st.server.URL(server.Public)+"/authn/refresh", strings.NewReader(string(body)))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "thief")
	got, err := st.thief.Do(request)
	if err != nil {
		return 0, "", errors.Unwrap(err) // without the URL, which says nothing
	}
	defer got.Body.Close()
	var refusal struct {
		Errors []struct {
			Parameters []struct{ Key, Value string }
		}
	}
	// An answer of another kind has no reason.
	_ = json.NewDecoder(http.MaxBytesReader(nil, got.Body, 64<<10)).Decode(&refusal)
	for _, e := range refusal.Errors {
		for _, p := range e.Parameters {
			if p.Key == "reason" {
				reason = p.Value
			}
		}
	}
	return got.StatusCode, reason, nil
}
