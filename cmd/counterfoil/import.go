package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

type importCommand struct {
	Credentials importCredentialsCommand `cmd:"" help:"Take over passwords of mod-login, from its database or a dump."`
	Tokens      importTokensCommand      `cmd:"" help:"Let refresh tokens of mod-authtoken become sessions, once each, from its database or a dump."`
}

// source is what an import reads.
type source struct {
	place
	From   string   `required:"" help:"postgres://USER@HOST:PORT/DATABASE of FOLIO's modules (password in PGPASSWORD), a dump of pg_dump as plain text, a file of JSON lines, or - for standard input." placeholder:"SOURCE"`
	Tenant []string `help:"Tenant to take over; may be repeated. A dump of pg_dump tells its tenants itself." placeholder:"TENANT"`
}

type importCredentialsCommand struct {
	source
	Replace bool `help:"Replace also passwords that were set here and not imported. Their users' sessions end."`
}

func (importCredentialsCommand) Help() string {
	return `What is stored is argon2id over mod-login's hash, and at the first login argon2id
of the password. Users and tenants must be here already.

It may be run again at any time. A row that was imported before is left alone,
whatever happened here since, unless the password was changed in mod-login: then
it is taken, and the user's sessions here end.

    counterfoil import credentials --from postgres://folio@db.example.org/okapi_modules --tenant diku
    pg_dump --table '*_mod_login.auth_credentials' okapi_modules | counterfoil import credentials --from -`
}

// importReport is what an import did. The rows that were not taken over are told
// one by one.
type importReport struct {
	Counts  map[string]int `json:"counts"`
	Skipped []skippedRow   `json:"skipped"`
}

type skippedRow struct {
	Where  string `json:"where"`
	Tenant string `json:"tenant,omitempty"`
	UserID string `json:"userId,omitempty"`
	Reason string `json:"reason"`
}

func (r *importReport) skip(row server.FOLIORow, result, reason string) {
	r.Counts[result]++
	r.Skipped = append(r.Skipped, skippedRow{row.Where, row.Tenant, row.Credential.UserID, reason})
}

// noTenant skips the rows of a tenant that is not here; a dump may have many.
func (r *importReport) noTenant(rows []server.FOLIORow, err error) error {
	var refused *refusal
	if !errors.As(err, &refused) || refused.Code != "not_found" {
		return err
	}
	for _, row := range rows {
		r.skip(row, "no tenant", "there is no such tenant here")
	}
	return nil
}

// why says what a result means for the row.
var why = map[session.ImportResult]string{
	session.ImportConflict: "the user has a password here that was not imported; --replace takes mod-login's",
	session.ImportNoUser:   "there is no such user here",
	session.ImportBroken:   "hash or salt are not what mod-login writes",
}

// At once there are as many rows as one request may carry.
const (
	credentialsAtOnce = 20
	tokensAtOnce      = 200
)

func (c *importCredentialsCommand) Run(p *program) error {
	report := &importReport{Counts: map[string]int{}, Skipped: []skippedRow{}}
	return p.with(c.place, func(a *api) error {
		send := func(tenant string, rows []server.FOLIORow) error {
			in := struct {
				Replace bool                      `json:"replace"`
				Rows    []session.FOLIOCredential `json:"rows"`
			}{Replace: c.Replace}
			for _, row := range rows {
				in.Rows = append(in.Rows, row.Credential)
			}
			var out struct{ Results []session.ImportResult }
			if err := a.call(p.ctx, http.MethodPost, "/counterfoil/tenants/"+escape(tenant)+"/import/credentials", in, &out); err != nil {
				return report.noTenant(rows, err)
			}
			for i, result := range out.Results {
				if reason := why[result]; reason != "" {
					report.skip(rows[i], string(result), reason)
				} else {
					report.Counts[string(result)]++
				}
			}
			return nil
		}
		b := batches{size: credentialsAtOnce, report: report, send: send}
		err := server.ReadCredentials(p.ctx, c.From, c.Tenant, b.add)
		if err == nil {
			err = b.flush()
		}
		if err != nil {
			return fmt.Errorf("%w (what was imported until then stays; run it again)", err)
		}
		return p.imported(c.place, report)
	})
}

type importTokensCommand struct{ source }

func (importTokensCommand) Help() string {
	return `Only tokens that are neither used nor revoked in mod-authtoken become sessions, so
stop it before the last run: what it revokes later is not known here. It may be
run again at any time; what was revoked since is withdrawn.

    counterfoil import tokens --from postgres://folio@db.example.org/okapi_modules --tenant diku`
}

func (c *importTokensCommand) Run(p *program) error {
	type wire struct {
		ID      string `json:"id"`
		UserID  string `json:"userId"`
		Expires int64  `json:"expires"`
		Revoked bool   `json:"revoked"`
	}
	report := &importReport{Counts: map[string]int{"allowed": 0, "withdrawn": 0}, Skipped: []skippedRow{}}
	return p.with(c.place, func(a *api) error {
		send := func(tenant string, rows []server.FOLIORow) error {
			var in struct {
				Tokens []wire `json:"tokens"`
			}
			for _, row := range rows {
				in.Tokens = append(in.Tokens, wire{row.Token.ID, row.Token.UserID, row.Token.Expires.Unix(), row.Token.Revoked})
			}
			var out map[string]int
			if err := a.call(p.ctx, http.MethodPost, "/counterfoil/tenants/"+escape(tenant)+"/import/tokens", in, &out); err != nil {
				return report.noTenant(rows, err)
			}
			for name, n := range out {
				report.Counts[name] += n
			}
			return nil
		}
		b := batches{size: tokensAtOnce, report: report, send: send}
		err := server.ReadTokens(p.ctx, c.From, c.Tenant, b.add)
		if err == nil {
			err = b.flush()
		}
		if err != nil {
			return fmt.Errorf("%w (what was imported until then stays; run it again)", err)
		}
		return p.imported(c.place, report)
	})
}

// batches collects rows of one tenant for one request.
type batches struct {
	size   int
	report *importReport
	send   func(tenant string, rows []server.FOLIORow) error
	rows   []server.FOLIORow
}

func (b *batches) add(row server.FOLIORow) error {
	if row.Fault != "" {
		b.report.skip(row, string(session.ImportBroken), row.Fault)
		return nil
	}
	if len(b.rows) > 0 && (len(b.rows) == b.size || b.rows[0].Tenant != row.Tenant) {
		if err := b.flush(); err != nil {
			return err
		}
	}
	b.rows = append(b.rows, row)
	return nil
}

func (b *batches) flush() error {
	if len(b.rows) == 0 {
		return nil
	}
	rows := b.rows
	b.rows = nil
	return b.send(rows[0].Tenant, rows)
}

func (p *program) imported(where place, report *importReport) error {
	if where.JSON {
		return p.printJSON(report)
	}
	for _, one := range report.Skipped {
		fmt.Fprintf(p.errors, "%s skipped: %s\n", one.Where, one.Reason)
	}
	var rows [][]string
	for result, n := range report.Counts {
		rows = append(rows, []string{result, strconv.Itoa(n)})
	}
	slices.SortFunc(rows, slices.Compare)
	return p.table("RESULT\tROWS", rows)
}
