package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// environment reads our own variables and those that FOLIO's operators have
// set already for mod-authtoken and mod-login.
func (c *Config) environment(lookup func(string) (string, bool)) []error {
	var faults []error
	fault := func(name string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		}
	}
	if text, set := lookup("COUNTERFOIL_MASTER_KEY"); set {
		key, err := token.ParseMaster(text)
		fault("COUNTERFOIL_MASTER_KEY", err)
		c.MasterKey = key
	}
	for name, field := range map[string]*string{
		"COUNTERFOIL_DATA": &c.Data, "COUNTERFOIL_LISTEN": &c.Listen,
		"COUNTERFOIL_INTERNAL_LISTEN": &c.InternalListen, "COUNTERFOIL_ADMIN_LISTEN": &c.AdminListen,
	} {
		if text, set := lookup(name); set && text != "" {
			*field = text
		}
	}
	fault("DB_MAXPOOLSIZE", c.database(lookup))
	if text, set := lookup("TOKEN_EXPIRATION_SECONDS"); set {
		fault("TOKEN_EXPIRATION_SECONDS", c.tokenExpiration(text))
	}
	if text, set := lookup("LEGACY_TOKEN_TENANTS"); set {
		fault("LEGACY_TOKEN_TENANTS", c.legacyTenants(text))
	}
	if text, set := lookup("LOGIN_COOKIE_SAMESITE"); set {
		if _, known := sameSites[text]; known {
			c.Cookies.SameSite = text
		} else {
			fault("LOGIN_COOKIE_SAMESITE", errors.New("must be Strict, Lax or None"))
		}
	}
	if text, set := lookup("EUREKA_LOGIN_PERMS"); set {
		on, err := strconv.ParseBool(text)
		if err != nil {
			err = errors.New("must be true or false")
		}
		fault("EUREKA_LOGIN_PERMS", err)
		c.Login.EurekaPermissions = on
	}
	return faults
}

// database reads the variables that all of FOLIO's storage modules take. Only
// DB_HOST chooses PostgreSQL; the others mean nothing without it, but for the
// password and the certificates, which go with any URL.
func (c *Config) database(lookup func(string) (string, bool)) error {
	value := func(name, standard string) string {
		if text, set := lookup(name); set && text != "" {
			return text
		}
		return standard
	}
	c.Postgres.password, c.Postgres.certificates = value("DB_PASSWORD", ""), value("DB_SERVER_PEM", "")
	if text := value("DB_MAXPOOLSIZE", ""); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("is not a number")
		}
		c.Postgres.Connections = max(1, n-reservedConns)
	}
	host := value("DB_HOST", "")
	if host == "" {
		return nil
	}
	u := url.URL{
		Scheme: "postgres", User: url.User(value("DB_USERNAME", "root")),
		Host: net.JoinHostPort(host, value("DB_PORT", "5432")), Path: "/" + value("DB_DATABASE", "db"),
	}
	c.Store = u.String()
	return nil
}

// reservedConns are the connections of a node beside postgres.connections: three
// for refreshes and the feed, one to listen. FOLIO's pool is all there are.
const reservedConns = 4

// legacyTenants takes a list of tenants, where the configuration says until when.
// In mod-authtoken an unset variable, or *, means every tenant, for ever.
func (c *Config) legacyTenants(text string) error {
	switch text = strings.TrimSpace(text); {
	case text == "":
		return nil
	case text == "*":
		return errors.New("* would give every tenant tokens that never expire; name the tenants, or unset it: clients of /authn/login get tokens that expire")
	case c.Authtoken.LegacyUntil == "":
		return errors.New("tokens that never expire need an end: set mod_authtoken.legacy_until, or unset it: clients of /authn/login get tokens that expire")
	}
	c.Authtoken.LegacyTenants = nil
	for tenant := range strings.SplitSeq(text, ",") {
		c.Authtoken.LegacyTenants = append(c.Authtoken.LegacyTenants, strings.TrimSpace(tenant))
	}
	return nil
}

// The lifetimes that mod-authtoken falls back to, whatever the default entry says.
const (
	folioAccessSeconds  = 600
	folioRefreshSeconds = 604_800
)

// tokenExpiration reads mod-authtoken's grammar:
//
//	config = entry *( ";" entry ) [ ";" ]
//	entry  = pair *( "," pair )
//	pair   = ( "tenantId" / "accessToken" / "refreshToken" ) ":" value
//
// An entry without tenantId is for all other tenants; of two entries for the
// same, the later one holds. refreshToken is the idle lifetime here, because
// FOLIO restarts it at each rotation. Where the operator set no grace, it
// shrinks with the access token.
func (c *Config) tokenExpiration(text string) error {
	text = strings.Join(strings.Fields(text), "")
	lifetimes := make(map[string]lifetime) // by tenant, "" for all others
	for entry := range strings.SplitSeq(strings.TrimSuffix(text, ";"), ";") {
		tenant, one, err := parseLifetime(entry)
		if err != nil {
			return err
		}
		lifetimes[tenant] = one
	}
	graceSet := c.Policy.Grace != nil
	if all, set := lifetimes[""]; set {
		c.Policy = all.patch(c.Policy, session.DefaultPolicy(), graceSet)
	}
	delete(lifetimes, "")
	if c.Tenants == nil {
		c.Tenants = make(map[string]session.PolicyPatch)
	}
	for tenant, one := range lifetimes {
		c.Tenants[tenant] = one.patch(c.Tenants[tenant], c.Policy.Apply(session.DefaultPolicy()), graceSet)
	}
	return nil
}

// lifetime is what an entry says, in seconds; 0 is not said.
type lifetime struct{ access, refresh int64 }

// parseLifetime reads one entry. Its errors are FOLIO's own words, which
// operators may have in their run books.
func parseLifetime(entry string) (tenant string, l lifetime, err error) {
	for pair := range strings.SplitSeq(entry, ",") {
		if pair == "" {
			//lint:ignore ST1005 FOLIO wrote it
			return "", l, errors.New("Token expiration configuration has an empty key value pair")
		}
		key, value, ok := strings.Cut(pair, ":")
		if !ok || value == "" || strings.Contains(value, ":") {
			//lint:ignore ST1005 FOLIO wrote it
			return "", l, fmt.Errorf("Expected a key value pair with a single colon but found %s", pair)
		}
		switch key {
		case "tenantId":
			tenant = value
		case "accessToken":
			l.access, err = strconv.ParseInt(value, 10, 32)
		case "refreshToken":
			l.refresh, err = strconv.ParseInt(value, 10, 32)
		default:
			//lint:ignore ST1005 FOLIO wrote it
			return "", l, fmt.Errorf("Token expiration configuration has an unknown key of %s", key)
		}
		if err != nil {
			return "", l, fmt.Errorf("%s: %q is not a number of seconds", key, value)
		}
	}
	return tenant, l, nil
}

// patch puts the lifetimes into a policy that lies over base.
func (l lifetime) patch(p session.PolicyPatch, base session.Policy, graceSet bool) session.PolicyPatch {
	if l.access <= 0 {
		l.access = folioAccessSeconds
	}
	if l.refresh <= 0 {
		l.refresh = folioRefreshSeconds
	}
	p.AccessTTL, p.Idle = seconds(l.access), seconds(l.refresh)
	applied := p.Apply(base)
	if p.Absolute == nil && applied.Absolute < applied.Idle {
		p.Absolute = p.Idle
	}
	if p.Grace == nil && !graceSet {
		p.Grace = fitGrace(applied)
	}
	return p
}

// fitGrace returns the longest grace, up to the default, that the linter takes
// with a shorter access token.
func fitGrace(p session.Policy) *session.Duration {
	for grace := session.DefaultPolicy().Grace; grace > 0; grace -= 100 * time.Millisecond {
		p.Grace = grace
		if !slices.ContainsFunc(p.Lint(), func(f session.Finding) bool { return f.Refuse && f.Field == "grace" }) {
			fitted := session.Duration(grace)
			return &fitted
		}
	}
	none := session.Duration(0)
	return &none
}

func seconds(n int64) *session.Duration {
	d := session.Duration(time.Duration(n) * time.Second)
	return &d
}
