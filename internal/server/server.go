// Package server puts the parts together: configuration, listeners,
// middleware, metrics, background work, start and shutdown. It is the only
// importer of store, and it decides nothing about tokens or requests.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/folio"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
	"github.com/counterfoil/counterfoil/internal/trail"
)

// Server is the program as a value: Open it, Serve until the context ends, and
// Close. Several may run in one process.
type Server struct {
	config   *Config
	log      *slog.Logger
	metrics  *metrics
	usage    *usage
	db       store.DB
	ring     *token.Ring
	people   *directory.Cache
	users    directory.Source
	borrowed *borrowed // nil where users are our own
	sessions *session.Service
	gateway  *gateway.Gateway
	admin    *admin.Handler
	marker   *marker
	trail    *trail.Trail // nil in commands
	tracing  *tracing     // nil where nobody wants traces
	recovery *folio.Recovery

	listeners   map[string]net.Listener
	handlers    map[string]*observed
	certificate *certificate // nil without TLS
	live        live
	// Bootstrap is the one-time code for the first administrator; empty if
	// there is one already.
	Bootstrap string
}

// Open opens the store, the keys and the listeners. Nothing is served yet.
func Open(ctx context.Context, c *Config) (_ *Server, err error) {
	s, err := OpenOffline(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.marker.start(ctx); err != nil {
		return nil, err
	}
	s.durability(ctx)
	if err := s.openTrail(ctx); err != nil {
		return nil, err
	}
	if err := s.openTracing(ctx); err != nil {
		return nil, err
	}
	if err := s.loadCertificate(); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	if err := s.openGateway(ctx); err != nil {
		return nil, err
	}
	if err := s.openBootstrap(ctx); err != nil {
		return nil, err
	}
	return s, s.mount()
}

// OpenOffline opens all but listeners and gateway: what a command needs that
// administers a store while nothing runs.
func OpenOffline(ctx context.Context, c *Config) (_ *Server, err error) {
	log, level, err := newLogger(c)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, log: log, metrics: newMetrics()}
	s.live.set(c, level)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if s.db, err = openStore(ctx, c, log); err != nil {
		return nil, err
	}
	master, err := s.master(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.openDirectory(ctx); err != nil {
		return nil, err
	}
	if err := s.openRing(ctx, master); err != nil {
		return nil, err
	}
	if err := s.openSessions(ctx, master); err != nil {
		return nil, err
	}
	if s.marker, err = newMarker(s); err != nil {
		return nil, err
	}
	s.metrics.node(s)
	s.admin = &admin.Handler{
		Sessions: s.sessions, Directory: s.people, Tokens: s.ring, Store: s.db, Now: s.db.Now,
		Token: newAdminToken(), Log: log, Trail: trail.Reader{Store: s.db},
		Bootstrap: &admin.Bootstrap{File: filepath.Join(c.Data, "bootstrap"), Now: s.db.Now},
	}
	if s.borrowed != nil {
		s.admin.Users, s.admin.Elsewhere = s.borrowed, s.borrowed.elsewhere
	}
	return s, nil
}

// master reads the master key, or makes one at the first start. Where there are
// keys already, a missing file is a file that was lost: a new master key could
// not open them, and would stand in the way of the right one.
func (s *Server) master(ctx context.Context) ([]byte, error) {
	if s.config.MasterKey != nil {
		return s.config.MasterKey, nil
	}
	if _, err := os.Stat(s.config.MasterKeyFile); errors.Is(err, os.ErrNotExist) {
		keys, err := s.db.Keys(ctx)
		if err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			return nil, fmt.Errorf("%s is missing, and the database has keys that only it opens: restore it from the backup", s.config.MasterKeyFile)
		}
	}
	return token.LoadOrCreateMaster(s.config.MasterKeyFile)
}

// issuer is the name that tokens give.
func (s *Server) issuer() string {
	if s.config.PublicURL == "" {
		return "counterfoil"
	}
	return s.config.PublicURL
}

// openRing reads the keys, or makes them. Where several nodes start for the first
// time at once, one of them makes them and the others read again.
func (s *Server) openRing(ctx context.Context, master []byte) (err error) {
	issuer := s.issuer()
	for range 10 {
		s.ring, err = token.OpenRing(ctx, token.Config{
			Store: s.db, Master: master, Issuer: issuer, Audience: "folio", Now: s.db.Now,
			Algorithm: s.signing, Algorithms: s.algorithms,
			RetireFor: token.RetireFor{
				Access: session.LongestAccess + time.Minute, Module: session.LongestModule + time.Minute,
				Refresh: session.LongestAbsolute + 24*time.Hour,
			},
		})
		if !errors.Is(err, session.ErrUnavailable) {
			return err
		}
	}
	return err
}

// signing is the algorithm of a session's access tokens, once there are policies.
func (s *Server) signing(tenant, client, userID string) string {
	if s.sessions == nil {
		return ""
	}
	return s.sessions.Policies.For(tenant, client, userID).Signing
}

func (s *Server) algorithms() []string {
	if s.sessions == nil {
		return nil
	}
	return s.sessions.Policies.Algorithms()
}

func (s *Server) openSessions(ctx context.Context, master []byte) error {
	c := s.config
	hasher, err := apikey.NewHasher(master)
	if err != nil {
		return err
	}
	policies := &session.Policies{Default: c.Policy.Apply(session.DefaultPolicy()), Tenants: c.Tenants, AllowUnsafe: c.Demo}
	if err := policies.Load(ctx, s.db); err != nil {
		return err
	}
	limits := &credential.Regulator{Exempt: networks(c.Login.Exempt)}
	if c.Login.DeactivateAfter > 0 {
		limits.Deactivation = credential.Deactivation{After: c.Login.DeactivateAfter, Window: 10 * time.Minute}
	}
	old, err := s.oldTokens()
	if err != nil {
		return err
	}
	s.usage = &usage{Observer: s.metrics, store: s.db}
	s.sessions = &session.Service{
		Moving: s.db, Old: old,
		Store: s.db, Feed: s.db, Cluster: s.db, Trust: c.TrustMemory.Std(), Accounts: s.db, Credentials: s.db, Devices: s.db, Spent: s.db, Events: s.db, Users: s.users,
		UsersElsewhere: s.borrowed != nil,
		Tokens:         s.ring, Directory: s.people, Policies: policies,
		Passwords: &credential.Hasher{}, Rules: credential.Rules{MinLength: c.Login.MinPassword, AllowWeak: c.Demo}, Limits: limits,
		Now: s.db.Now, Log: s.log, Observe: s.usage, KeepEnded: time.Duration(c.KeepEnded),
		VerifiedTokens: c.VerifiedTokens, Keys: &session.APIKeys{Store: s.db, Hasher: hasher},
		Clients: clientsByID(c.OAuth.Clients), Registered: s.db,
	}
	s.db.OnChange(s.reload)
	s.metrics.cluster(s.db)
	if err := s.sessions.LoadClients(ctx); err != nil {
		return err
	}
	return s.sessions.Start(ctx)
}

func clientsByID(all []session.Client) map[string]*session.Client {
	byID := make(map[string]*session.Client, len(all))
	for i := range all {
		byID[all[i].ID] = &all[i]
	}
	return byID
}

// reload brings changes into memory that are no business of sessions. It runs
// before a change is acknowledged.
func (s *Server) reload(changes []session.Change) {
	ctx := context.Background()
	warn := func(what string, err error) {
		if err != nil {
			s.log.Error("change not taken over, restart if it persists", "what", what, "error", err)
		}
	}
	is := func(c session.Change, kinds ...session.ChangeKind) bool {
		return c.Kind == session.Missed || slices.Contains(kinds, c.Kind)
	}
	for _, c := range changes {
		if is(c, session.TenantsChanged) {
			warn("tenants", s.people.ReloadTenants(ctx))
		}
		if is(c, session.ClientsChanged, session.TenantsChanged) {
			warn("clients", s.sessions.LoadClients(ctx))
		}
		if is(c, session.PoliciesChanged) {
			warn("policies", s.sessions.Policies.Load(ctx, s.db))
		}
		if is(c, session.ModulesChanged, session.TenantsChanged) && s.gateway != nil {
			warn("modules", s.gateway.Reload(ctx))
		}
		if is(c, session.KeysChanged) {
			warn("keys", s.ring.Heard(ctx))
		}
	}
}

func (s *Server) loadCertificate() (err error) {
	if s.config.TLS.Cert == "" {
		return nil
	}
	s.certificate, err = loadCertificate(s.config.TLS, s.config.Now, func(err error) {
		s.log.Error("certificate not read again, the old one stays", "error", err)
	})
	for _, one := range s.sessions.AllClients() {
		if err == nil && (len(one.Certificates) > 0 || one.CertificateBound) {
			s.certificate.asks = tls.RequestClientCert
		}
	}
	return err
}

// Gateway gives a demonstration or a test the gateway to register modules with.
func (s *Server) Gateway() *gateway.Gateway { return s.gateway }

// Sessions gives a demonstration or a test the use cases.
func (s *Server) Sessions() *session.Service { return s.sessions }

// Around lets a demonstration stand before what a listener serves. Call it
// before Serve.
func (s *Server) Around(listener string, stand func(next http.Handler) http.Handler) {
	s.handlers[listener].next = stand(s.handlers[listener].next)
}

// Store gives a demonstration or a test the store.
func (s *Server) Store() store.DB { return s.db }

// People gives a test what is in memory of users and permissions.
func (s *Server) People() *directory.Cache { return s.people }

// Tokens gives a demonstration or a measurement the key ring.
func (s *Server) Tokens() *token.Ring { return s.ring }

// rotateKeys promotes keys that were published long enough and removes retired
// ones whose last token has died.
func (s *Server) rotateKeys(ctx context.Context) {
	ctx = audit.WithActor(ctx, &audit.Actor{Kind: "system", Name: "key ring"})
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.ring.Tick(ctx); err != nil {
				s.log.ErrorContext(ctx, "keys not moved on, it will be tried again", "error", err)
			}
		}
	}
}

// Close ends background work and closes the store. It is safe to call twice.
func (s *Server) Close(ctx context.Context) error {
	var faults []error
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			faults = append(faults, err)
		}
	}
	if s.recovery != nil {
		s.recovery.Close()
	}
	if s.sessions != nil {
		faults = append(faults, s.sessions.Close(ctx))
	}
	s.tracing.close(ctx)
	if s.trail != nil {
		s.trail.Close(ctx)
	}
	if s.marker != nil {
		s.marker.end(ctx)
	}
	if s.db != nil {
		faults = append(faults, s.db.Close())
	}
	return errors.Join(faults...)
}

// Version is the program's version, as its module says it.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return "0.1.0"
}

// newLogger also returns its level, which may be changed while it is used.
func newLogger(c *Config) (*slog.Logger, *slog.LevelVar, error) {
	least, err := logLevel(c.Log.Level)
	if err != nil {
		return nil, nil, err
	}
	level := new(slog.LevelVar)
	level.Set(least)
	var out io.Writer = c.LogTo
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(out, options)
	if c.Log.Format == "text" {
		handler = slog.NewTextHandler(out, options)
	}
	return slog.New(actorHandler{handler}), level, nil
}
