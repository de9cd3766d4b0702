// Package demo shows the main job on one machine: a program with seed data and
// two sample modules that follow Okapi's conventions, the story to copy and
// paste, a page on which it can be watched, and a tour that plays the story by
// itself and checks each step.
//
// Nothing here is for production: its passwords are known to everybody and its
// management API is open on loopback.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Options is how the demonstration is set up. Zero values are the defaults.
type Options struct {
	// Data is the directory of the store; it is made and kept. Empty is
	// counterfoil-demo here, for a tour a new one that is removed at the end.
	Data string
	// Listen, InternalListen and AdminListen are addresses; port 0 is any.
	Listen, InternalListen, AdminListen string
	// AccessTTL and Grace may be as short as one likes to watch.
	AccessTTL, Grace time.Duration
	LogLevel         string
	// CORSOrigins are those of pages elsewhere that may call.
	CORSOrigins []string
	// PublicURL is where a page reaches the demonstration, if something stands
	// before it; proofs of a key name it.
	PublicURL string
	// PlainCookies leaves out Secure.
	PlainCookies bool
	// Tour plays the story and ends.
	Tour bool
	// between is what a test puts between the tour and the public listener.
	between func(public string) (front string)
	// Out is where the story is told, LogTo where the log goes.
	Out, LogTo io.Writer
}

// Run serves the demonstration until ctx ends, or plays the tour. It fails if
// a step of the tour is not as promised.
func Run(ctx context.Context, o Options) (err error) {
	config, cleanup, err := o.config()
	if err != nil {
		return err
	}
	defer cleanup()
	if !o.Tour {
		for _, f := range config.Policy.Apply(session.DefaultPolicy()).Lint() {
			fmt.Fprintf(o.Out, "warning: %s: %s\n", f.Field, f.Reason)
		}
	}
	s, err := server.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	modules, err := startModules(running, group)
	if err != nil {
		return err
	}
	if err := seed(running, s, modules); err != nil {
		return fmt.Errorf("seed data: %w", err)
	}
	if !o.Tour {
		s.Around(server.Public, func(next http.Handler) http.Handler { return newStage(s, next) })
	}
	group.Go(func() error { return s.Serve(running) })
	if o.Tour {
		t := newTour(o.Out, s, time.Duration(*config.Policy.AccessTTL), time.Duration(*config.Policy.Grace))
		if o.between != nil {
			t.public = o.between(t.public)
		}
		err = t.play(running)
		stop()
		return errors.Join(err, group.Wait())
	}
	tellStory(o.Out, s, config.Data, time.Duration(*config.Policy.AccessTTL), time.Duration(*config.Policy.Grace))
	return group.Wait()
}

// The tour's own lifetimes: expiry and healing are watched in seconds.
const (
	tourAccessTTL = 3 * time.Second
	tourGrace     = 500 * time.Millisecond
)

func (o *Options) config() (_ *server.Config, cleanup func(), err error) {
	cleanup = func() {}
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	if o.Tour {
		o.AccessTTL, o.Grace = tourAccessTTL, tourGrace
		fill(&o.Listen, "127.0.0.1:0")
		fill(&o.InternalListen, "127.0.0.1:0")
		fill(&o.AdminListen, "127.0.0.1:0")
		fill(&o.LogLevel, "error")
		if o.Data == "" {
			if o.Data, err = os.MkdirTemp("", "counterfoil-tour-"); err != nil {
				return nil, cleanup, err
			}
			cleanup = func() { _ = os.RemoveAll(o.Data) }
		}
	}
	fill(&o.Data, "counterfoil-demo")
	fill(&o.LogLevel, "warn")
	for _, address := range []*string{&o.Listen, &o.InternalListen, &o.AdminListen} {
		*address = onLoopback(*address)
	}
	access, grace := session.Duration(o.AccessTTL), session.Duration(o.Grace)
	c := &server.Config{
		Data: o.Data, Listen: o.Listen, InternalListen: o.InternalListen, AdminListen: o.AdminListen,
		Policy: session.PolicyPatch{AccessTTL: &access, Grace: &grace}, Demo: true, LogTo: o.LogTo,
	}
	c.Log.Level, c.Log.Format = o.LogLevel, "text"
	c.CORS.Origins, c.Cookies.Insecure = o.CORSOrigins, o.PlainCookies
	c.PublicURL = o.PublicURL
	c.OAuth.Clients = []session.Client{demoApp}
	c.SetDefaults()
	faults := c.Check()
	for _, l := range []struct{ flag, address string }{
		{"--listen", c.Listen}, {"--internal-listen", c.InternalListen}, {"--admin-listen", c.AdminListen},
	} {
		if !loopback(l.address) {
			faults = append(faults, fmt.Errorf("%s %s: the demonstration has passwords that everybody knows and serves on loopback only", l.flag, l.address))
		}
	}
	return c, cleanup, errors.Join(faults...)
}

// demoApp is an application that knows OAuth and nothing of FOLIO. Nothing listens
// at its address.
var demoApp = session.Client{
	ID: "demo-app", Tenant: tenant, Name: "Demo application", Redirects: []string{"http://127.0.0.1:9139/callback"},
	Grants: session.Grants[:2:2], Scopes: []string{session.ScopeOpenID, session.ScopeProfile, session.ScopeEmail, "orders.all"},
}

// loopback is whether an address can be reached from this machine alone. An
// address without a host means all networks.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// onLoopback makes ":0" an address of loopback.
func onLoopback(address string) string {
	if strings.HasPrefix(address, ":") {
		return "127.0.0.1" + address
	}
	return address
}

// startModules serves the sample modules on loopback and returns their base
// URLs by module id.
func startModules(ctx context.Context, group *errgroup.Group) (map[string]string, error) {
	urls := make(map[string]string)
	for id, handler := range map[string]http.Handler{ordersID: newOrders(), chainID: &chain{client: http.DefaultClient}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("sample module %s: %w", id, err)
		}
		urls[id] = "http://" + listener.Addr().String()
		// Longer than the gateway keeps connections: this also ends those that were
		// made and not used yet, at the moment, perhaps, at which they are.
		module := &http.Server{Handler: handler, ReadHeaderTimeout: 2 * time.Minute}
		group.Go(func() error {
			if err := module.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			late, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer done()
			if err := module.Shutdown(late); err != nil {
				return module.Close()
			}
			return nil
		})
	}
	return urls, nil
}
