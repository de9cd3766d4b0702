package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Listeners of the program, by name.
const (
	Public   = "public"
	Internal = "internal"
	Admin    = "admin"
)

func (s *Server) listen() error {
	s.listeners = make(map[string]net.Listener)
	for _, one := range []struct{ name, address string }{
		{Public, s.config.Listen}, {Internal, s.config.InternalListen}, {Admin, s.config.AdminListen},
	} {
		if one.name == Internal && s.config.behindOkapi() {
			continue // modules call Okapi
		}
		l, err := net.Listen("tcp", one.address)
		if err != nil {
			return fmt.Errorf("%s listener: %w", one.name, err)
		}
		s.listeners[one.name] = l
	}
	if s.borrowed != nil && s.borrowed.folio.URL == "" {
		s.borrowed.folio.URL = s.URL(Internal)
	}
	return nil
}

// URL returns the base URL of a listener for callers on this machine, with the
// port that it got, empty if there is no such listener in this mode.
func (s *Server) URL(listener string) string {
	if s.listeners[listener] == nil {
		return ""
	}
	scheme := "http"
	if listener == Public && s.certificate != nil {
		scheme = "https"
	}
	at := s.listeners[listener].Addr().(*net.TCPAddr).AddrPort()
	host := at.Addr().Unmap()
	if host.IsUnspecified() { // listens everywhere, which is no address to call
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	u := url.URL{Scheme: scheme, Host: netip.AddrPortFrom(host, at.Port()).String()}
	return u.String()
}

// Serve answers requests until ctx ends, then drains: first the public
// listener, whose requests may still need the internal one, then that, then
// the admin listener.
func (s *Server) Serve(ctx context.Context) error {
	if err := s.announce(); err != nil {
		return err
	}
	defer s.unannounce()
	s.live.serving.Store(true)
	failed := make(chan error, len(s.listeners))
	servers := make(map[string]*http.Server)
	for name, listener := range s.listeners {
		server := s.httpServer(name)
		servers[name] = server
		s.log.Info("listening", "listener", name, "url", s.URL(name), "version", Version())
		go func() {
			var err error
			if server.TLSConfig != nil {
				err = server.ServeTLS(listener, "", "")
			} else {
				err = server.Serve(listener)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("%s listener: %w", name, err)
			}
		}()
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go s.rotateKeys(background)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		s.usage.keep(background, s.db.Now, func() time.Duration { return s.db.Now().Sub(s.db.HeardAt()) }, s.log)
	}()
	if !s.config.behindOkapi() && !s.config.Timers.Disabled {
		go s.gateway.RunTimers(background)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	case err = <-s.marker.replaced:
	}
	s.live.serving.Store(false)
	if err == nil {
		err = s.lead(failed)
	}
	err = errors.Join(err, s.shutdown(ctx, servers))
	stop()
	<-kept
	return err
}

// lead gives a balancer time to see that the node is not ready any more.
// Requests are still taken, each on a connection that ends with it.
func (s *Server) lead(failed <-chan error) error {
	delay := s.config.DrainDelay.Std()
	if delay <= 0 {
		return nil
	}
	s.log.Info("not ready any more, requests are still taken", "drain_delay", delay.String())
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-failed:
		return err
	}
}

func (s *Server) shutdown(ctx context.Context, servers map[string]*http.Server) (err error) {
	limit := s.live.drain()
	s.log.Info("shutting down, requests in flight are finished", "drain", limit.String())
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer done()
	for _, name := range []string{Public, Internal, Admin} {
		if servers[name] == nil {
			continue
		}
		if late := servers[name].Shutdown(drain); late != nil {
			err = errors.Join(err, fmt.Errorf("%s listener: requests were cut off: %w", name, late), servers[name].Close())
		}
	}
	return err
}

func (s *Server) httpServer(name string) *http.Server {
	server := &http.Server{
		Handler:           s.leaving(s.handlers[name]),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if name == Public && s.certificate != nil {
		server.TLSConfig = s.certificate.config()
	}
	return server
}
