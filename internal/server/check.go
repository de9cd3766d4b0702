package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/folio"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Check reports everything that cannot work.
func (c *Config) Check() []error {
	var faults []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	faults = append(faults, c.checkStore()...)
	faults = append(faults, c.checkDirectory()...)
	faults = append(faults, c.checkMode()...)
	faults = append(faults, c.Authtoken.check()...)
	faults = append(faults, c.checkAudit()...)
	faults = append(faults, c.checkTracing()...)
	for _, l := range []struct{ name, address string }{
		{"listen", c.Listen}, {"internal_listen", c.InternalListen}, {"admin_listen", c.AdminListen},
	} {
		bad(!validListener(l.address), "%s: %q is not ADDRESS:PORT", l.name, l.address)
	}
	bad(c.PublicURL != "" && !validURL(c.PublicURL), "public_url: %q is not an http or https URL without query", c.PublicURL)
	bad(c.InternalURL != "" && !validURL(c.InternalURL), "internal_url: %q is not an http or https URL without query", c.InternalURL)
	bad(!c.behindOkapi() && c.InternalURL == "" && validListener(c.InternalListen) && everywhere(c.InternalListen),
		"internal_url: must be set, since modules cannot call back to internal_listen %q", c.InternalListen)
	bad((c.TLS.Cert == "") != (c.TLS.Key == ""), "tls: cert and key belong together")
	if c.TLS.Cert != "" && c.TLS.Key != "" {
		_, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
		bad(err != nil, "tls: %v", err)
	}
	bad(c.Cookies.Insecure && strings.HasPrefix(c.PublicURL, "https:"), "cookies.insecure: not with a public_url that is https")
	bad(c.Cookies.Insecure && c.Cookies.SameSite == "None", "cookies.insecure: not with same_site None, browsers drop such cookies")
	for _, setting := range []struct {
		key  string
		list []string
	}{{"trusted_proxies", c.TrustedProxies}, {"login.exempt_networks", c.Login.Exempt}, {"okapi.networks", c.Okapi.Networks}} {
		for _, network := range setting.list {
			_, err := parseNetwork(network)
			bad(err != nil, "%s: %q is not a network such as 10.0.0.0/8", setting.key, network)
		}
	}
	for _, origin := range c.CORS.Origins {
		bad(!validOrigin(origin), "cors.origins: %q is not an origin such as https://ui.example.org; a wildcard with cookies would let any page act as the user", origin)
	}
	_, sameSite := sameSites[c.Cookies.SameSite]
	bad(!sameSite, "cookies.same_site: %q is not Lax, Strict or None", c.Cookies.SameSite)
	_, err := logLevel(c.Log.Level)
	bad(err != nil, "log.level: %q is not debug, info, warn or error", c.Log.Level)
	bad(c.Log.Format != "json" && c.Log.Format != "text", "log.format: %q is not json or text", c.Log.Format)
	bad(c.Login.MinPassword < 8, "login.min_password: %d is less than 8", c.Login.MinPassword)
	faults = append(faults, c.checkRecovery()...)
	bad(c.Login.DeactivateAfter < 0, "login.deactivate_after: must not be negative")
	bad(c.VerifiedTokens < -1 || c.VerifiedTokens > 10_000_000, "verified_tokens: %d is not between -1 and 10000000", c.VerifiedTokens)
	bad(c.Upstream.Timeout < 0 || c.KeepEnded < 0 || c.Drain < 0, "upstream.timeout, keep_ended and drain must not be negative")
	faults = append(faults, c.checkErrorProfiles()...)
	bad(c.DrainDelay < 0 || c.DrainDelay.Std() > time.Minute, "drain_delay: %s is not between 0s and 1m", c.DrainDelay.Std())
	for i, route := range c.APIKeys.Routes {
		err := route.Check()
		bad(err != nil, "api_keys.routes: number %d, %s: %w", i+1, route.Path, err)
	}
	known := map[string]bool{}
	for i := range c.OAuth.Clients {
		one := &c.OAuth.Clients[i]
		err := one.Check()
		bad(err != nil, "oauth.clients: number %d, %q: %w", i+1, one.ID, err)
		bad(known[one.ID], "oauth.clients: %q is there twice", one.ID)
		known[one.ID] = true
	}
	if !c.Demo {
		faults = append(faults, c.checkPolicies()...)
	}
	return faults
}

func (c *Config) checkErrorProfiles() []error {
	var faults []error
	if err := c.Errors.Profile.Check(); err != nil {
		faults = append(faults, fmt.Errorf("errors.profile: %w", err))
	}
	for _, tenant := range slices.Sorted(maps.Keys(c.Errors.Tenants)) {
		if err := c.Errors.Tenants[tenant].Check(); err != nil {
			faults = append(faults, fmt.Errorf("errors.tenants.%s: %w", tenant, err))
		}
	}
	return faults
}

func (c *Config) checkMode() []error {
	switch {
	case c.Mode == ModeGateway && (len(c.Okapi.Networks) > 0 || c.Okapi.Prompt || c.Okapi.URL != ""):
		return []error{errors.New("okapi: has effect in mode okapi-module only")}
	case c.Mode == ModeGateway:
		return nil
	case c.Mode != ModeOkapiModule:
		return []error{fmt.Errorf("mode: %q is not gateway or okapi-module", c.Mode)}
	case c.Okapi.URL != "" && (!validURL(c.Okapi.URL) || linkLocal(c.Okapi.URL)):
		return []error{fmt.Errorf("okapi.url: %q is not an http or https URL without query", c.Okapi.URL)}
	case len(c.Okapi.Networks) == 0 && validListener(c.Listen) && !onLoopback(c.Listen):
		return []error{fmt.Errorf("okapi.networks: must name the networks from which Okapi calls listen %q. "+
			"Whoever may call the filter has tokens minted with any permission", c.Listen)}
	}
	return nil
}

func onLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// checkRecovery looks at what is about forgotten passwords and FOLIO's log.
func (c *Config) checkRecovery() []error {
	var faults []error
	for _, page := range []struct{ key, address string }{
		{"login.reset_url", c.Login.ResetURL}, {"login.forgot_url", c.Login.ForgotURL},
	} {
		if page.address != "" && !validURL(page.address) {
			faults = append(faults, fmt.Errorf("%s: %q is not an http or https URL without query", page.key, page.address))
		}
	}
	if ttl := c.Login.ResetTTL.Std(); ttl < time.Minute || ttl > 24*time.Hour {
		faults = append(faults, fmt.Errorf("login.reset_ttl: %s is not between 1m and 24h", ttl))
	}
	for _, name := range c.Login.LogEvents {
		if !slices.Contains(folio.LoginEvents, name) {
			faults = append(faults, fmt.Errorf("login.log_events: %q is none of %s", name, strings.Join(folio.LoginEvents, ", ")))
		}
	}
	return faults
}

// checkStore repeats nothing of a URL: it may hold a password.
func (c *Config) checkStore() []error {
	if path, sqlite := strings.CutPrefix(c.Store, "sqlite:"); sqlite && path != "" {
		return nil
	}
	if !c.postgres() {
		return []error{errors.New("store: must be sqlite:PATH or postgres://USER@HOST:PORT/DATABASE")}
	}
	var faults []error
	for key, address := range map[string]string{"store": c.Store, "postgres.listen": c.Postgres.Listen} {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" && !u.Query().Has("host") || len(u.Path) < 2 {
			faults = append(faults, fmt.Errorf("%s: is not postgres://USER@HOST:PORT/DATABASE", key))
		} else if _, has := u.User.Password(); has || u.Query().Has("password") {
			faults = append(faults, fmt.Errorf("%s: holds a password; put it into postgres.password_file or DB_PASSWORD", key))
		}
	}
	for key, file := range map[string]string{"postgres.password_file": c.Postgres.PasswordFile, "postgres.server_pem": c.Postgres.ServerPEM} {
		if _, err := os.Stat(file); file != "" && err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", key, err))
		}
	}
	if c.Postgres.Connections < 1 || c.Postgres.Connections > 1000 {
		faults = append(faults, fmt.Errorf("postgres.connections: %d is not between 1 and 1000", c.Postgres.Connections))
	}
	if trust := c.TrustMemory.Std(); trust < time.Second || trust > 10*time.Minute {
		faults = append(faults, fmt.Errorf("trust_memory: %s is not between 1s and 10m", trust))
	}
	return faults
}

// postgres is whether sessions are kept in PostgreSQL.
func (c *Config) postgres() bool {
	return strings.HasPrefix(c.Store, "postgres://") || strings.HasPrefix(c.Store, "postgresql://")
}

func (c *Config) checkPolicies() []error {
	var faults []error
	base := c.Policy.Apply(session.DefaultPolicy())
	everybodys := base.Lint()
	refuse := func(where string, found []session.Finding) {
		for _, f := range found {
			if f.Refuse {
				faults = append(faults, fmt.Errorf("%s.%s: %s", where, f.Field, f.Reason))
			}
		}
	}
	refuse("policy", everybodys)
	for _, tenant := range slices.Sorted(maps.Keys(c.Tenants)) {
		own := c.Tenants[tenant].Apply(base).Lint()
		refuse("tenants."+tenant, slices.DeleteFunc(own, func(f session.Finding) bool { return slices.Contains(everybodys, f) }))
	}
	return faults
}

func validListener(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	if host == "" || host == "localhost" {
		return err == nil
	}
	_, unknown := netip.ParseAddr(host)
	return err == nil && unknown == nil
}

// everywhere is whether a listener has no address of its own to tell others.
func everywhere(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

func validURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

func parseNetwork(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return addr.Prefix(addr.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// networks reads networks that Check has found no fault with.
func networks(list []string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, one := range list {
		if p, err := parseNetwork(one); err == nil {
			parsed = append(parsed, p)
		}
	}
	return parsed
}

func validOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" &&
		u.Path == "" && u.RawQuery == "" && u.User == nil && !strings.Contains(s, "*")
}

func logLevel(name string) (level slog.Level, err error) {
	err = level.UnmarshalText([]byte(name))
	return level, err
}
