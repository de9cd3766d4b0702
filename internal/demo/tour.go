package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/server"
)

// tour plays the story against the program's own listeners, as strangers
// would, and checks each step.
type tour struct {
	out              io.Writer
	public, internal string
	accessTTL, grace time.Duration
	client           *http.Client

	step   int
	faults int
	// admin and reader are browsers; script keeps tokens itself.
	admin, reader browser
	script        struct{ access, refresh string }
}

// browser is a cookie jar as far as the story needs one: names and values. It
// is written by hand because the tour also plays the lost answer and the
// thief, for which a jar is in the way.
type browser map[string]string

func newTour(out io.Writer, s *server.Server, accessTTL, grace time.Duration) *tour {
	return &tour{
		out: out, public: s.URL(server.Public), internal: s.URL(server.Internal), accessTTL: accessTTL, grace: grace,
		client: &http.Client{Timeout: 15 * time.Second}, admin: browser{}, reader: browser{},
	}
}

// ErrTour is a step that was not as promised.
var ErrTour = errors.New("the tour found a step that was not as promised")

func (t *tour) play(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	started := time.Now()
	for _, chapter := range []func(context.Context) error{
		t.logIn, t.callModules, t.expire, t.loseAnswer, t.openTabs, t.chainModules,
		t.leakModuleToken, t.raiseScope, t.runScript, t.revoke, t.steal, t.logOut,
	} {
		if err := chapter(ctx); err != nil {
			return fmt.Errorf("step %d: %w", t.step, err)
		}
	}
	fmt.Fprintf(t.out, "\n%d steps in %s, %d not as promised\n", t.step, time.Since(started).Round(100*time.Millisecond), t.faults)
	if t.faults > 0 {
		return ErrTour
	}
	return nil
}

// tell begins a step.
func (t *tour) tell(format string, args ...any) {
	t.step++
	fmt.Fprintf(t.out, "\n%2d. %s\n", t.step, fmt.Sprintf(format, args...))
}

// check says whether the step is as promised.
func (t *tour) check(ok bool, format string, args ...any) {
	mark := "✓"
	if !ok {
		mark = "✗ NOT"
		t.faults++
	}
	fmt.Fprintf(t.out, "    %s %s\n", mark, fmt.Sprintf(format, args...))
}

// call is a request of the story.
type call struct {
	method, path string
	// base is the public listener if empty.
	base    string
	body    any
	cookies browser
	header  map[string]string
}

// reply is its answer.
type reply struct {
	status  int
	body    []byte
	header  http.Header
	cookies browser
}

func (t *tour) do(ctx context.Context, c call) (reply, error) {
	if c.base == "" {
		c.base = t.public
	}
	var body []byte
	if c.body != nil {
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return reply{}, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, c.method, c.base+c.path, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("X-Okapi-Tenant", tenant)
	if c.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	for name, value := range c.cookies {
		if name != "folioAccessToken" && !strings.HasPrefix(c.path, "/authn") {
			continue // its path keeps it at home
		}
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	fmt.Fprintf(t.out, "    → %s %s%s%s\n", c.method, c.path, shown(" ", string(body)), shown("  Cookie: ", r.Header.Get("Cookie")))
	answer, err := t.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	got := reply{status: answer.StatusCode, header: answer.Header, cookies: browser{}}
	if got.body, err = io.ReadAll(io.LimitReader(answer.Body, 1<<20)); err != nil {
		return reply{}, err
	}
	fmt.Fprintf(t.out, "    ← %d%s\n", got.status, shown(" ", string(got.body)))
	for _, cookie := range answer.Cookies() {
		got.cookies[cookie.Name] = cookie.Value
		fmt.Fprintf(t.out, "      Set-Cookie: %s\n", shorten(cookie.String()))
	}
	return got, nil
}

// keep takes over the cookies of an answer, as a browser does.
func (b browser) keep(got reply) {
	for name, value := range got.cookies {
		if value == "" {
			delete(b, name)
			continue
		}
		b[name] = value
	}
}

func (b browser) copy() browser {
	c := browser{}
	for name, value := range b {
		c[name] = value
	}
	return c
}

func (r reply) field(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(r.body, &fields)
	text, _ := fields[name].(string)
	return text
}

func (r reply) contains(text string) bool { return strings.Contains(string(r.body), text) }

var tokens = regexp.MustCompile(`(eyJ|cfrt_)[\w.-]{20,}`)

// shorten leaves the ends of each token, so that two can be told apart and
// none be used.
func shorten(s string) string {
	return tokens.ReplaceAllStringFunc(s, func(token string) string { return token[:5] + "…" + token[len(token)-5:] })
}

func shown(before, s string) string {
	s = shorten(strings.TrimSpace(s))
	if s == "" {
		return ""
	}
	if runes := []rune(s); len(runes) > 300 {
		s = string(runes[:300]) + "…"
	}
	return before + s
}

// wait lets time pass, which is what the story is about.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func oneValue(list []string) bool {
	slices.Sort(list)
	return len(slices.Compact(list)) == 1
}
