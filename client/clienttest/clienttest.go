// Package clienttest is a gateway for tests of programs that use package
// client: it speaks Counterfoil's wire, takes client credentials as RFC 6749
// has them and one API key, keeps everything in memory, and has a
// clock that the test moves.
//
//	gateway := clienttest.New(t)
//	gateway.Handle("GET /orders", orders)
//	answer, err := gateway.Client().Get(gateway.URL + "/orders")
//
// Misfortune is at hand: Advance lets access tokens end, EndSessions revokes,
// Unavailable answers 503, LoseAnswers serves and says nothing, Restart
// breaks all connections.
//
// In a testing/synctest bubble use NewInMemory, which needs no network: time
// passes there by itself.
package clienttest

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
)

// What the server knows from the beginning.
const (
	Tenant   = "diku"
	Username = "reader"
	Password = "correct horse battery"
	// ClientID and ClientSecret log in at /oauth2/token.
	ClientID     = "harvester"
	ClientSecret = "staple of the correct battery"
	// APIKey is taken in place of an access token.
	APIKey = "cfak_a-key-for-tests"
)

// The lifetimes are Counterfoil's defaults.
const (
	AccessTTL = 10 * time.Minute
	grace     = 10 * time.Second
	floor     = 2 * grace
	heal      = 3 * grace
)

// Server is the gateway.
type Server struct {
	// URL is where it is.
	URL string

	transport http.RoundTripper
	network   *httptest.Server
	mux       *http.ServeMux

	mu       sync.Mutex
	offset   time.Duration
	sessions map[string]*session
	minted   int
	logins   int
	rotated  int
	asked    int
	busy     int
	lose     int
	inactive bool
}

// New starts a server on a port of its own, until the test ends.
func New(t testing.TB) *Server {
	s := newServer()
	s.network = httptest.NewUnstartedServer(s)
	s.network.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.network.Start()
	t.Cleanup(s.network.Close)
	s.URL = s.network.URL
	s.transport = s.network.Client().Transport
	return s
}

// NewInMemory makes a server that is reached by its own clients only.
func NewInMemory(testing.TB) *Server {
	s := newServer()
	s.URL = "http://clienttest.invalid"
	s.transport = direct{s}
	return s
}

func newServer() *Server {
	s := &Server{mux: http.NewServeMux(), sessions: map[string]*session{}}
	s.mux.HandleFunc("POST /authn/login", s.login)
	s.mux.HandleFunc("POST /authn/refresh", s.refresh)
	s.mux.HandleFunc("POST /authn/logout", s.logout)
	s.mux.HandleFunc("POST /oauth2/token", s.oauthToken)
	return s
}

// Handle registers a handler behind the check of access token or API key, with
// a pattern of http.ServeMux.
func (s *Server) Handle(pattern string, handler http.Handler) {
	s.mux.Handle(pattern, s.guard(handler))
}

// HandleFunc is Handle for a function.
func (s *Server) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	s.Handle(pattern, http.HandlerFunc(handler))
}

// Session returns a session of the server's user. It logs in when it is used.
func (s *Server) Session() *client.Session {
	return &client.Session{
		BaseURL: s.URL, Tenant: Tenant, Now: s.Now, HTTP: s.HTTP(),
		Login: client.Password{Username: Username, Password: Password},
	}
}

// Client returns a client with a session of its own.
func (s *Server) Client() *http.Client { return s.Session().Client() }

// HTTP returns a client without a session.
func (s *Server) HTTP() *http.Client { return &http.Client{Transport: s.transport} }

// Now is the server's clock, and that of its sessions.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Server) now() time.Time { return time.Now().Add(s.offset) }

// Advance moves the clock.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

// EndSessions revokes all sessions and their access tokens.
func (s *Server) EndSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// Deactivate makes the user inactive, or active again. An inactive one can
// neither log in nor refresh; sessions and access tokens go on.
func (s *Server) Deactivate(inactive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inactive = inactive
}

func (s *Server) isInactive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inactive
}

// Unavailable answers the next n requests to /authn and /oauth2 with 503.
func (s *Server) Unavailable(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = n
}

// LoseAnswers serves the next n requests to /authn and /oauth2 and breaks the
// connection in place of an answer.
func (s *Server) LoseAnswers(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = n
}

// Restart breaks all connections. Sessions survive, as they do in a real one.
func (s *Server) Restart() {
	if s.network != nil {
		s.network.CloseClientConnections()
	}
}

// Count is what has happened so far.
type Count struct {
	// Logins are successful ones.
	Logins int
	// Refreshes are all requests for one, and Rotations those that made a new
	// refresh token.
	Refreshes, Rotations int
	// Sessions are those that have not ended.
	Sessions int
}

// Count returns what has happened so far.
func (s *Server) Count() Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Count{Logins: s.logins, Refreshes: s.asked, Rotations: s.rotated, Sessions: len(s.sessions)}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The Date header is the clock by which clients reckon.
	w.Header().Set("Date", s.Now().UTC().Format(http.TimeFormat))
	s.mux.ServeHTTP(w, r)
}

// direct calls a handler without a network.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	sent := r.Clone(r.Context())
	if sent.Body == nil {
		sent.Body = http.NoBody
	}
	defer sent.Body.Close()
	recorder := httptest.NewRecorder()
	if broke := serve(d.handler, recorder, sent); broke != nil {
		return nil, broke
	}
	answer := recorder.Result()
	answer.Request = r
	return answer, nil
}

// serve turns the panic with which a handler breaks its connection into what
// the client sees of it.
func serve(handler http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			err = io.ErrUnexpectedEOF
		} else if p != nil {
			err = fmt.Errorf("handler: %v", p)
		}
	}()
	handler.ServeHTTP(w, r)
	return nil
}
