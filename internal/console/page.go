package console

import (
	"bytes"
	"fmt"
	"html/template"
	"net/url"
	"time"

	"github.com/mileusna/useragent"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// sections are the pages that the navigation names, in its order.
var sections = []struct{ Name, Path string }{
	{"Overview", ""},
	{"Sessions", "sessions"},
	{"Users", "users"},
	{"Policies", "policies"},
	{"Keys", "keys"},
	{"API keys", "api-keys"},
	{"Audit", "audit"},
	{"Modules", "modules"},
}

// titles are the pages and what stands above them, and the section they are in.
var titles = map[string][2]string{
	"login": {"Log in", ""}, "error": {"That did not work", ""}, "overview": {"Overview", ""}, "sessions": {"Sessions", "sessions"},
	"session": {"Session", "sessions"}, "users": {"Users", "users"}, "user": {"User", "users"}, "policies": {"Policies", "policies"},
	"keys": {"Keys", "keys"}, "api-keys": {"API keys", "api-keys"}, "audit": {"Audit", "audit"}, "modules": {"Modules", "modules"},
	"done": {"Done", ""}, "ending": {"End sessions", "sessions"},
}

// parse reads the templates, which are part of the program.
func (h *Handler) parse() {
	funcs := words(h.Now)
	h.pages = make(map[string]*template.Template)
	for name := range titles {
		h.pages[name] = template.Must(template.New(name).Funcs(funcs).ParseFS(files, "pages/layout.html", "pages/parts.html", "pages/"+name+".html"))
	}
}

// words are the functions of the templates.
func words(now func() time.Time) template.FuncMap {
	return template.FuncMap{
		"moment": moment, "ago": func(t time.Time) string { return ago(now(), t) }, "device": device, "kind": kindWords,
		"query": query, "tenants": choiceOf, "times": func(n uint64) string { return count(int(n), "time") },
		"refreshed": func(gen uint64) string { return count(int(gen-1), "time") },
	}
}

// page is what every template gets.
type page struct {
	Title, Section, Nonce string
	Sections              []struct{ Name, Path string }
	// Operator is who is logged in, and Change whether he may change things.
	Operator string
	Change   bool
	Data     any
}

// render writes a page whole, or nothing of it.
func (h *Handler) render(v *visit, name string, data any) error {
	return h.part(v, name, "layout", data)
}

// part writes one block of a page.
func (h *Handler) part(v *visit, name, block string, data any) error {
	p := page{Title: titles[name][0], Section: titles[name][1], Nonce: v.nonce, Sections: sections, Change: v.may(PermissionChange), Data: data}
	if v.caller != nil {
		p.Operator = v.caller.Claims.Subject
	}
	var out bytes.Buffer
	if err := h.pages[name].ExecuteTemplate(&out, block, p); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err := v.w.Write(out.Bytes())
	return err
}

// choice is a list of tenants to choose from.
type choice struct {
	Tenants     []directory.Tenant
	Tenant, Any string
	Required    bool
}

func choiceOf(tenants []directory.Tenant, tenant, any string, required bool) choice {
	return choice{tenants, tenant, any, required}
}

// query writes the query of a link from names and values, without empty ones.
// What it writes is escaped.
func query(pairs ...string) template.URL {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			values.Set(pairs[i], pairs[i+1])
		}
	}
	return template.URL(values.Encode())
}

// moment is a time for people, to the second. The page's script adds the time of
// the place where it is read.
func moment(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < -time.Second:
		return "in " + lasting(-d)
	case d < time.Second:
		return "now"
	default:
		return lasting(d) + " ago"
	}
}

// lasting is a time span in its largest unit.
func lasting(d time.Duration) string {
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(d / unit.of); n > 0 {
			return count(n, unit.name)
		}
	}
	return count(max(1, int(d/time.Second)), "second")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// device tells a user agent as people know it. It is the client's own claim.
func device(agent string) string {
	ua := useragent.Parse(agent)
	switch {
	case agent == "":
		return "unknown program"
	case ua.Name == "" || ua.OS == "":
		return agent
	}
	return ua.Name + " on " + ua.OS
}

// kindWords is an event's kind as words.
func kindWords(k audit.Kind) string {
	text := []byte(k)
	for i, c := range text {
		if c == '_' {
			text[i] = ' '
		}
	}
	return string(text)
}
