package console

import (
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// auditPage is the page of the audit log.
type auditPage struct {
	Tenants                                     []directory.Tenant
	Tenant, Kind, UserID, Session, Since, Until string
	Events                                      []audit.Event
	// Before is where the next page begins, 0 on the last.
	Before int64
	// Export is the query of the export.
	Export template.URL
}

func (p *auditPage) read(q url.Values) (session.EventFilter, error) {
	*p = auditPage{
		Tenant: q.Get("tenant"), Kind: strings.TrimSpace(q.Get("kind")), UserID: strings.TrimSpace(q.Get("user")), Session: strings.TrimSpace(q.Get("session")),
		Since: q.Get("since"), Until: q.Get("until"),
	}
	f := session.EventFilter{Tenant: p.Tenant, Kind: audit.Kind(strings.ReplaceAll(p.Kind, " ", "_")), UserID: p.UserID, Session: p.Session}
	var err error
	if f.Since, err = day(p.Since, 0); err == nil {
		f.Until, err = day(p.Until, 1)
	}
	p.Export = query("tenant", p.Tenant, "kind", p.Kind, "user", p.UserID, "session", p.Session, "since", p.Since, "until", p.Until)
	return f, err
}

// day reads a day in UTC, and adds some.
func day(text string, more int) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, &fault{http.StatusBadRequest, "A day is written as 2026-12-31."}
	}
	return t.AddDate(0, 0, more), nil
}

func (h *Handler) audit(v *visit) error {
	var p auditPage
	filter, err := p.read(v.r.URL.Query())
	if err != nil {
		return err
	}
	if text := v.r.URL.Query().Get("before"); text != "" {
		if filter.Before, err = strconv.ParseInt(text, 10, 64); err != nil || filter.Before < 1 {
			return errNotFound
		}
	}
	filter.Limit = pageSize
	if p.Tenants, err = h.Users.Tenants(v.r.Context()); err != nil {
		return err
	}
	if p.Events, err = h.Sessions.Events.Events(v.r.Context(), filter); err != nil {
		return err
	}
	if len(p.Events) == pageSize {
		p.Before = p.Events[pageSize-1].Seq
	}
	return h.render(v, "audit", p)
}

// exportAudit writes what the page would list as lines of JSON, newest first, as
// sinks get them but for their places in the chain.
func (h *Handler) exportAudit(v *visit) error {
	var p auditPage
	filter, err := p.read(v.r.URL.Query())
	if err != nil {
		return err
	}
	filter.Limit = 1000
	for {
		events, err := h.Sessions.Events.Events(v.r.Context(), filter)
		if err != nil {
			if filter.Before > 0 {
				panic(http.ErrAbortHandler) // half a file must not look like a whole one
			}
			return err
		}
		if filter.Before == 0 {
			v.w.Header().Set("Content-Type", "application/jsonl")
			v.w.Header().Set("Content-Disposition", `attachment; filename="counterfoil-audit.jsonl"`)
		}
		var lines []byte
		for i := range events {
			record := audit.OfEvent(&events[i])
			if lines, err = record.AppendLine(lines); err != nil {
				return err
			}
		}
		if _, err := v.w.Write(lines); err != nil || len(events) < filter.Limit {
			return nil // whole, or the reader went away
		}
		filter.Before = events[len(events)-1].Seq
	}
}
