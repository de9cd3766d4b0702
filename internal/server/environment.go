package server

import (
	"errors"
	"fmt"
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
	if text, set := lookup("TOKEN_EXPIRATION_SECONDS"); set {
		fault("TOKEN_EXPIRATION_SECONDS", c.tokenExpiration(text))
	}
	if text, set := lookup("LEGACY_TOKEN_TENANTS"); set {
		fault("LEGACY_TOKEN_TENANTS", legacyTenants(text))
	}
	if text, set := lookup("LOGIN_COOKIE_SAMESITE"); set {
		if _, known := sameSites[text]; !known {
			fault("LOGIN_COOKIE_SAMESITE", errors.New("must be Strict, Lax or None"))
		}
		c.Cookies.SameSite = text
	}
	return faults
}

// legacyTenants refuses what mod-authtoken would do by default. There, an
// unset variable means every tenant.
func legacyTenants(text string) error {
	switch strings.TrimSpace(text) {
	case "":
		return nil
	case "*":
		return errors.New("* would give every tenant tokens that never expire and cannot be revoked; unset it, clients of /authn/login get tokens that expire")
	}
	return errors.New("tokens that never expire are not issued by this version; unset it, clients of /authn/login get tokens that expire")
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
// An entry without tenantId is for all other tenants. refreshToken is the idle
// lifetime here, because FOLIO restarts it at each rotation. Where the operator
// set no grace, it shrinks with the access token.
func (c *Config) tokenExpiration(text string) error {
	text = strings.Join(strings.Fields(text), "")
	entries := strings.Split(strings.TrimSuffix(text, ";"), ";")
	for _, entry := range entries {
		tenant, access, refresh := "", 0, 0
		for pair := range strings.SplitSeq(entry, ",") {
			if pair == "" {
				return errors.New("Token expiration configuration has an empty key value pair") //nolint:staticcheck // FOLIO's own words
			}
			key, value, ok := strings.Cut(pair, ":")
			if !ok || strings.Contains(value, ":") {
				return fmt.Errorf("Expected a key value pair with a single colon but found %s", pair) //nolint:staticcheck // FOLIO's own words
			}
			var err error
			switch key {
			case "tenantId":
				tenant = value
			case "accessToken":
				access, err = strconv.Atoi(value)
			case "refreshToken":
				refresh, err = strconv.Atoi(value)
			default:
				return fmt.Errorf("Token expiration configuration has an unknown key of %s", key) //nolint:staticcheck // FOLIO's own words
			}
			if err != nil {
				return fmt.Errorf("%s: %q is not a number of seconds", key, value)
			}
		}
		c.setLifetimes(tenant, access, refresh)
	}
	return nil
}

func (c *Config) setLifetimes(tenant string, access, refresh int) {
	if access <= 0 {
		access = folioAccessSeconds
	}
	if refresh <= 0 {
		refresh = folioRefreshSeconds
	}
	patch := c.Policy
	if tenant != "" {
		patch = c.Tenants[tenant]
	}
	patch.AccessTTL = seconds(access)
	patch.Idle = seconds(refresh)
	base := session.DefaultPolicy()
	if tenant != "" {
		base = c.Policy.Apply(base)
	}
	applied := patch.Apply(base)
	if patch.Absolute == nil && applied.Absolute < applied.Idle {
		patch.Absolute = patch.Idle
	}
	if patch.Grace == nil && (tenant == "" || c.Policy.Grace == nil) {
		patch.Grace = fitGrace(applied)
	}
	if tenant == "" {
		c.Policy = patch
		return
	}
	if c.Tenants == nil {
		c.Tenants = make(map[string]session.PolicyPatch)
	}
	c.Tenants[tenant] = patch
}

// fitGrace returns the longest grace, up to the default, that the linter takes
// with a shorter access token.
func fitGrace(p session.Policy) *session.Duration {
	for grace := p.Grace; grace > 0; grace -= 100 * time.Millisecond {
		p.Grace = grace
		if !slices.ContainsFunc(p.Lint(), func(f session.Finding) bool { return f.Refuse && f.Field == "grace" }) {
			fitted := session.Duration(grace)
			return &fitted
		}
	}
	none := session.Duration(0)
	return &none
}

func seconds(n int) *session.Duration {
	d := session.Duration(time.Duration(n) * time.Second)
	return &d
}
