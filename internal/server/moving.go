package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
)

// AuthtokenSettings say which tokens of mod-authtoken count.
type AuthtokenSettings struct {
	KeyFile       string   `yaml:"key_file" doc:"file that holds mod-authtoken's jwt.signing.key, and nothing else. Empty: its tokens are refused"`
	Until         string   `yaml:"until" doc:"last day, in UTC, on which access and refresh tokens of mod-authtoken count, such as 2026-12-31, or a time such as 2026-12-31T18:00:00Z; see [moving over](migrating-from-mod-authtoken.md)"`
	LegacyTenants []string `yaml:"legacy_tenants" doc:"tenants whose clients get and may use tokens that never expire; FOLIO's LEGACY_TOKEN_TENANTS"`
	LegacyUntil   string   `yaml:"legacy_until" doc:"last day on which tokens that never expire count"`
}

// endOf reads a day, which counts whole, or a time.
func endOf(text string) (time.Time, error) {
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at.AddDate(0, 0, 1), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, errors.New("is not a day such as 2026-12-31 or a time such as 2026-12-31T18:00:00Z")
	}
	return at, nil
}

func (a *AuthtokenSettings) check() []error {
	var faults []error
	for _, one := range []struct {
		key, text string
		needed    bool
	}{
		{"until", a.Until, a.KeyFile != ""}, {"legacy_until", a.LegacyUntil, len(a.LegacyTenants) > 0},
	} {
		if one.text == "" && one.needed {
			faults = append(faults, fmt.Errorf("mod_authtoken.%s: must be set, tokens of mod-authtoken count until then", one.key))
		} else if one.text != "" {
			if _, err := endOf(one.text); err != nil {
				faults = append(faults, fmt.Errorf("mod_authtoken.%s: %q %w", one.key, one.text, err))
			}
		}
	}
	if a.KeyFile == "" && (a.Until != "" || len(a.LegacyTenants) > 0) {
		faults = append(faults, errors.New("mod_authtoken.key_file: must name the file with mod-authtoken's jwt.signing.key"))
	}
	for _, tenant := range a.LegacyTenants {
		if tenant == "*" || tenant == "" {
			faults = append(faults, errors.New("mod_authtoken.legacy_tenants: name each tenant; * would give every tenant tokens that never expire"))
		}
	}
	return faults
}

// oldTokens is nil where no tokens of mod-authtoken count.
func (s *Server) oldTokens() (*session.OldTokens, error) {
	a := &s.config.Authtoken
	if a.KeyFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(a.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("mod_authtoken.key_file: %w", err)
	}
	reader, weak, err := token.NewFOLIO(strings.TrimRight(string(text), "\r\n"))
	if err != nil {
		return nil, fmt.Errorf("mod_authtoken.key_file: %w", err)
	}
	if weak {
		s.log.Warn("jwt.signing.key has fewer than 32 bytes: whoever has one of its tokens can try to guess it")
	}
	old := &session.OldTokens{Reader: reader, Legacy: make(map[string]bool)}
	if old.Until, err = endOf(a.Until); err != nil {
		return nil, fmt.Errorf("mod_authtoken.until: %w", err)
	}
	for _, tenant := range a.LegacyTenants {
		old.Legacy[tenant] = true
	}
	if len(old.Legacy) > 0 {
		if old.LegacyUntil, err = endOf(a.LegacyUntil); err != nil {
			return nil, fmt.Errorf("mod_authtoken.legacy_until: %w", err)
		}
	}
	return old, nil
}

// FOLIORow is a row of FOLIO's, to be taken over.
type FOLIORow struct {
	// Where is its line in a dump, or its number in a table.
	Where      string
	Tenant     string
	Credential session.FOLIOCredential
	Token      session.OldToken
	// Fault is why it cannot be read.
	Fault string
}

// ReadCredentials tells each of mod-login's credentials in a database or a dump.
func ReadCredentials(ctx context.Context, from string, tenants []string, each func(FOLIORow) error) error {
	const schema, table = "_mod_login", "auth_credentials"
	if !isDatabase(from) {
		return readDump(from, table, schema, tenants, func(d credential.DumpRow, row FOLIORow) error {
			document := d.JSON
			if document == nil {
				document = []byte(d.Columns["jsonb"])
			}
			row.credential(document)
			return each(row)
		})
	}
	return readDatabase(ctx, from, tenants, func(f *store.FOLIORows, tenant string, next func() string) error {
		return f.Credentials(ctx, tenant, func(document []byte) error {
			row := FOLIORow{Where: next(), Tenant: tenant}
			row.credential(document)
			return each(row)
		})
	})
}

// ReadTokens tells each of mod-authtoken's refresh tokens in a database or a dump.
func ReadTokens(ctx context.Context, from string, tenants []string, each func(FOLIORow) error) error {
	const schema, table = "_mod_authtoken", "refresh_tokens"
	if !isDatabase(from) {
		return readDump(from, table, schema, tenants, func(d credential.DumpRow, row FOLIORow) error {
			if row.Fault == "" {
				row.tokenOf(d)
			}
			return each(row)
		})
	}
	return readDatabase(ctx, from, tenants, func(f *store.FOLIORows, tenant string, next func() string) error {
		return f.Tokens(ctx, tenant, func(id, user string, revoked bool, expires int64) error {
			return each(FOLIORow{Where: next(), Tenant: tenant, Token: session.OldToken{
				ID: id, UserID: user, Revoked: revoked, Expires: time.Unix(expires, 0),
			}})
		})
	})
}

// maxHex is more than mod-login writes of a hash or a salt.
const maxHex = 256

// credential reads a document. The errors of JSON would repeat it.
func (r *FOLIORow) credential(document []byte) {
	if r.Fault != "" {
		return
	}
	if json.Unmarshal(document, &r.Credential) != nil {
		r.Fault = "it is not a JSON object of mod-login"
		return
	}
	id, err := uuid.Parse(r.Credential.UserID)
	if err != nil {
		r.Fault = "userId is not a UUID"
		return
	}
	r.Credential.UserID = id.String()
	if len(r.Credential.Hash) > maxHex || len(r.Credential.Salt) > maxHex {
		r.Fault = "hash or salt are longer than mod-login writes them"
	}
}

func (r *FOLIORow) tokenOf(d credential.DumpRow) {
	var one struct {
		ID      string `json:"id"`
		UserID  string `json:"user_id"`
		Revoked bool   `json:"is_revoked"`
		Expires int64  `json:"expires_at"`
	}
	var errs error
	if d.JSON != nil {
		errs = json.Unmarshal(d.JSON, &one)
	} else {
		one.ID, one.UserID = d.Columns["id"], d.Columns["user_id"]
		one.Revoked = d.Columns["is_revoked"] != "f" // unreadable is revoked
		one.Expires, errs = strconv.ParseInt(d.Columns["expires_at"], 10, 64)
	}
	id, err := uuid.Parse(one.ID)
	user, err2 := uuid.Parse(one.UserID)
	if errs != nil || err != nil || err2 != nil {
		r.Fault = "it is not a row of mod-authtoken"
		return
	}
	r.Token = session.OldToken{ID: id.String(), UserID: user.String(), Revoked: one.Revoked, Expires: time.Unix(one.Expires, 0)}
}

func isDatabase(from string) bool {
	return strings.HasPrefix(from, "postgres://") || strings.HasPrefix(from, "postgresql://")
}

var errTenant = errors.New("name the tenants with --tenant: what is read does not tell them")

func readDatabase(ctx context.Context, from string, tenants []string, each func(*store.FOLIORows, string, func() string) error) error {
	if len(tenants) == 0 {
		return errTenant
	}
	f, err := store.OpenFOLIO(ctx, from)
	if err != nil {
		return fmt.Errorf("FOLIO's database: %w", err)
	}
	defer f.Close(context.WithoutCancel(ctx))
	for _, tenant := range tenants {
		n := 0
		next := func() string { n++; return fmt.Sprintf("tenant %s, row %d", tenant, n) }
		if err := each(f, tenant, next); err != nil {
			return fmt.Errorf("tenant %s: %w", tenant, err)
		}
	}
	return nil
}

func readDump(from, table, schema string, tenants []string, each func(credential.DumpRow, FOLIORow) error) error {
	file := io.NopCloser(os.Stdin)
	if from != "-" {
		opened, err := os.Open(from)
		if err != nil {
			return err
		}
		file = opened
	}
	defer file.Close()
	wanted := make(map[string]bool)
	for _, tenant := range tenants {
		wanted[tenant] = true
	}
	return credential.ReadDump(file, table, func(d credential.DumpRow) error {
		row := FOLIORow{Where: "line " + strconv.Itoa(d.Line), Fault: d.Fault}
		if d.Schema == "" {
			if len(tenants) != 1 {
				return errTenant
			}
			row.Tenant = tenants[0]
			return each(d, row)
		}
		tenant, ours := strings.CutSuffix(d.Schema, schema)
		if !ours || len(wanted) > 0 && !wanted[tenant] {
			return nil
		}
		row.Tenant = tenant
		return each(d, row)
	})
}
