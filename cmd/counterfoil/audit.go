package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/token"
)

type auditCommand struct {
	Search auditSearchCommand `cmd:"" help:"List events, newest first."`
	Export auditExportCommand `cmd:"" help:"Write the log with its chain, as JSON Lines."`
	Verify auditVerifyCommand `cmd:"" help:"Verify the log, or an export of it; name the first bad record."`
	Keys   auditKeysCommand   `cmd:"" help:"Print the public keys by which an export is verified."`
	Status auditStatusCommand `cmd:"" help:"How far the chain and the sinks are; what sinks refused."`
}

type auditSearchCommand struct {
	place
	Tenant  string    `help:"Only of this tenant."`
	User    string    `help:"Only about the user of this id." placeholder:"UUID"`
	Session string    `help:"Only about this session." placeholder:"UUID"`
	Kind    string    `help:"Only of this kind, such as refresh_reuse."`
	Since   time.Time `help:"Only from this time on, such as 2026-11-26T03:00:00Z."`
	Until   time.Time `help:"Only from before this time."`
	Before  int64     `help:"Continue after a page."`
	Limit   int       `help:"How many." default:"50"`
}

func (auditSearchCommand) Help() string {
	return `Example:

    counterfoil audit search --tenant diku --kind login_failed --since 2026-11-26T00:00:00Z
    counterfoil audit search --session b36dea40-eab2-44c1-8cac-c9187b91343b --json`
}

func (c *auditSearchCommand) Run(p *program) error {
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	for name, value := range map[string]string{"tenant": c.Tenant, "userId": c.User, "session": c.Session, "kind": c.Kind} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": c.Since, "until": c.Until} {
		if !at.IsZero() {
			query.Set(name, at.Format(time.RFC3339))
		}
	}
	if c.Before > 0 {
		query.Set("before", strconv.FormatInt(c.Before, 10))
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/events?"+query.Encode(), nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct {
			Events []struct {
				Seq                                                   int64
				Time                                                  time.Time
				Kind, Tenant, UserID, Session, Actor, Address, Reason string
			}
			Before int64
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, e := range got.Events {
			rows = append(rows, []string{
				strconv.FormatInt(e.Seq, 10), e.Time.Local().Format(time.DateTime), e.Kind, e.Tenant, e.UserID, e.Session,
				strconv.Quote(e.Actor), e.Address, strconv.Quote(e.Reason),
			})
		}
		if err := p.table("EVENT\tTIME\tKIND\tTENANT\tUSER\tSESSION\tBY\tFROM\tREASON", rows); err != nil || got.Before == 0 {
			return err
		}
		_, err := fmt.Fprintf(p.out, "more: --before %d\n", got.Before)
		return err
	})
}

type auditExportCommand struct {
	place
	After int64 `help:"Leave out records up to this one. Such an export cannot be verified by itself."`
}

func (auditExportCommand) Help() string {
	return `Example:

    counterfoil audit export >audit.jsonl
    counterfoil audit keys >audit-keys.json
    counterfoil audit verify --export audit.jsonl --keys audit-keys.json`
}

func (c *auditExportCommand) Run(p *program) error {
	out := bufio.NewWriter(p.out)
	err := p.with(c.place, func(a *api) error {
		return p.records(a, c.After, func(line []byte, _ *audit.Record) error {
			_, err := out.Write(append(line, '\n'))
			return err
		})
	})
	return errors.Join(err, out.Flush())
}

// records reads the log page by page, up to its end.
func (p *program) records(a *api, after int64, each func(line []byte, r *audit.Record) error) error {
	for {
		path := "/counterfoil/audit/records"
		if after > 0 {
			path += "?after=" + strconv.FormatInt(after, 10)
		}
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, path, nil, &text); err != nil {
			return err
		}
		before := after
		for line := range lines(text) {
			r, err := audit.ParseRecord(line)
			if err == nil {
				err = each(line, &r)
			}
			if err != nil || r.Type == audit.RecordEnd {
				return err
			}
			if r.Type == audit.RecordEvent {
				after = max(after, r.N)
			}
		}
		if after == before {
			return errors.New("the program answered with a page that leads nowhere")
		}
	}
}

func lines(text []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			line := text
			for i, b := range text {
				if b == '\n' {
					line = text[:i]
					break
				}
			}
			if len(line) > 0 && !yield(line) {
				return
			}
			text = text[min(len(line)+1, len(text)):]
		}
	}
}

type auditKeysCommand struct{ place }

func (auditKeysCommand) Help() string {
	return `Keep them elsewhere than the exports: whoever can exchange both can exchange all.

    counterfoil audit keys >audit-keys.json`
}

func (c *auditKeysCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		err := a.call(p.ctx, http.MethodGet, "/counterfoil/audit/keys", nil, &text)
		return orJSON(p, text, err)
	})
}

type auditStatusCommand struct{ place }

func (auditStatusCommand) Help() string {
	return `Example:

    counterfoil audit status`
}

func (c *auditStatusCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		err := a.call(p.ctx, http.MethodGet, "/counterfoil/audit", nil, &text)
		return orJSON(p, text, err)
	})
}

type auditVerifyCommand struct {
	place
	Export string `help:"Verify this export instead of the log; - is standard input." placeholder:"FILE"`
	Keys   string `help:"Public keys, from \"counterfoil audit keys\"; needed with --export." type:"existingfile" placeholder:"FILE"`
	Anchor string `help:"A checkpoint that was kept elsewhere; default is that of the data directory." type:"existingfile" placeholder:"FILE"`
}

func (auditVerifyCommand) Help() string {
	return `Exits with 1 and names the first record that was deleted, altered, inserted or cut
off. Works on the database while no program does, or asks the one that runs.

    counterfoil audit verify --config counterfoil.yaml
    counterfoil audit verify --export audit.jsonl --keys audit-keys.json --anchor audit-checkpoint.json`
}

func (c *auditVerifyCommand) Run(p *program) error {
	if c.Export == "" {
		return p.with(c.place, func(a *api) error {
			v, err := c.verifier(p, a)
			if err != nil {
				return err
			}
			if err := p.records(a, 0, func(_ []byte, r *audit.Record) error { return v.Add(r) }); err != nil {
				return err
			}
			return c.report(p, v)
		})
	}
	if c.Keys == "" {
		return usageError("--export needs --keys: keys that come with an export prove nothing")
	}
	v, err := c.verifier(p, nil)
	if err != nil {
		return err
	}
	in := p.in
	if c.Export != "-" {
		file, err := os.Open(c.Export)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	if err := verifyLines(in, v); err != nil {
		return err
	}
	return c.report(p, v)
}

// longestLine is more than an event can have.
const longestLine = 4 << 20

func verifyLines(in io.Reader, v *audit.Verifier) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, longestLine)
	for n := 1; scanner.Scan(); n++ {
		r, err := audit.ParseRecord(scanner.Bytes())
		if err == nil {
			err = v.Add(&r)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return scanner.Err()
}

// verifier takes keys and anchor from files where they are named, and from the
// installation otherwise.
func (c *auditVerifyCommand) verifier(p *program, a *api) (*audit.Verifier, error) {
	var got struct {
		Keys []token.AuditKey `json:"keys"`
	}
	if c.Keys != "" {
		text, err := os.ReadFile(c.Keys)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &got); err != nil || len(got.Keys) == 0 {
			return nil, fmt.Errorf("%s holds no keys", c.Keys)
		}
	} else if err := a.call(p.ctx, http.MethodGet, "/counterfoil/audit/keys", nil, &got); err != nil {
		return nil, err
	}
	v := &audit.Verifier{Check: func(point *audit.Checkpoint) (bool, error) {
		for _, k := range got.Keys {
			if k.ID == point.Key {
				return !k.Removed, k.Verify(point.Message(), point.Signature)
			}
		}
		return false, errors.New("its key is not known")
	}}
	anchor := c.Anchor
	if anchor == "" && a != nil {
		config, err := p.config(c.place)
		if err != nil {
			return nil, err
		}
		anchor = server.AnchorFile(config.Data)
	}
	if anchor == "" {
		return v, nil
	}
	text, err := os.ReadFile(anchor)
	if errors.Is(err, os.ErrNotExist) && c.Anchor == "" {
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := audit.ParseRecord(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", anchor, err)
	}
	point, err := r.Checkpoint()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", anchor, err)
	}
	v.Anchors = []audit.Checkpoint{point}
	return v, nil
}

func (c *auditVerifyCommand) report(p *program, v *audit.Verifier) error {
	report, err := v.End()
	if err != nil {
		return err
	}
	if c.JSON {
		return p.printJSON(report)
	}
	_, err = fmt.Fprintf(p.out, "records %d to %d are as they were sealed; %d deleted in time; signed up to %d at %s; %d not sealed yet\n",
		report.First, report.Last, report.Gone, report.Signed, report.SignedAt.UTC().Format(time.RFC3339), report.Waiting)
	return err
}
