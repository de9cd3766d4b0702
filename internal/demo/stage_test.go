package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// visitor is a browser, as far as cookies go, at a demonstration that runs.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

// told is an output that tells when the address of the page is in it.
type told struct {
	text  bytes.Buffer
	found chan string
}

var pageAddress = regexp.MustCompile(`page +(http://\S+)/demo/ `)

func (o *told) Write(b []byte) (int, error) {
	n, err := o.text.Write(b)
	if m := pageAddress.FindSubmatch(o.text.Bytes()); m != nil && o.found != nil {
		o.found <- string(m[1])
		o.found = nil
	}
	return n, err
}

// visit starts a demonstration. Its grace can be waited for, and requests fit
// into it on a machine that is busy.
func visit(t *testing.T) *visitor {
	t.Helper()
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	data := t.TempDir() // removed after the program has ended
	found, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Data: data, Listen: "127.0.0.1:0", InternalListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
			AccessTTL: time.Minute, Grace: 2 * time.Second, Out: &told{found: found}, LogTo: io.Discard, LogLevel: "error",
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case base := <-found:
		return &visitor{t: t, base: base, client: &http.Client{Jar: &plainJar{jar}}}
	case err := <-ended:
		ended <- err
		t.Fatal("the demonstration told no address: ", err)
		return nil
	}
}

// plainJar sends Secure cookies to a plain loopback address, as browsers do.
type plainJar struct{ http.CookieJar }

func (j *plainJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		c.Secure = false
	}
	j.CookieJar.SetCookies(u, cookies)
}

// do sends a request with the jar's cookies, and returns status and body.
func (v *visitor) do(method, path, body string, header ...string) (int, []byte) {
	v.t.Helper()
	status, got, err := v.try(method, path, body, header...)
	if err != nil {
		v.t.Fatal(err)
	}
	return status, got
}

func (v *visitor) try(method, path, body string, header ...string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("X-Okapi-Tenant", tenant)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := v.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	return answer.StatusCode, got, err
}

func (v *visitor) want(status int, method, path, body string, header ...string) []byte {
	v.t.Helper()
	got, text := v.do(method, path, body, header...)
	if got != status {
		v.t.Fatalf("%s %s answered %d, want %d: %s", method, path, got, status, text)
	}
	return text
}

func (v *visitor) logIn() (id string) {
	v.t.Helper()
	v.want(http.StatusCreated, "POST", "/authn/login-with-expiry", `{"username":"reader","password":"reader"}`)
	var of struct{ Session string }
	v.read(&of, "/demo/session")
	return of.Session
}

func (v *visitor) read(into any, path string) {
	v.t.Helper()
	if err := json.Unmarshal(v.want(http.StatusOK, "GET", path, ""), into); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) ledger(id string) (l ledger) {
	v.t.Helper()
	v.read(&l, "/demo/ledger?session="+id)
	return l
}

func (v *visitor) refresh(header ...string) int {
	v.t.Helper()
	status, _ := v.do("POST", "/authn/refresh", "", header...)
	return status
}

// wait lets milliseconds pass that the ledger named.
func (v *visitor) wait(ms int64) {
	v.t.Helper()
	if err := wait(v.t.Context(), time.Duration(ms)*time.Millisecond); err != nil {
		v.t.Fatal(err)
	}
}

func TestPageLoadsWhatIsItsOwnAndNothingElse(t *testing.T) {
	v := visit(t)
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|"javascript:|<script(?:\s[^>]*)?>[^<]|https?://`)
	err := fs.WalkDir(pageFiles, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		path := "/demo/" + strings.TrimSuffix(strings.TrimPrefix(name, "page/"), "index.html")
		answer, err := v.client.Get(v.base + path)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		policy := answer.Header.Get("Content-Security-Policy")
		if answer.StatusCode != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s answered %d with policy %q", path, answer.StatusCode, policy)
		}
		kinds := map[string]string{"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
		if kind := kinds[name[strings.LastIndexByte(name, '.')+1:]]; kind == "" || !strings.HasPrefix(answer.Header.Get("Content-Type"), kind) {
			t.Errorf("%s is %s", path, answer.Header.Get("Content-Type"))
		}
		if strings.HasSuffix(name, ".html") && inline.Match(text) {
			t.Errorf("%s has something inline, or from elsewhere: %s", path, inline.Find(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	v.want(http.StatusNotFound, "GET", "/demo/nothing.js", "")
	v.want(http.StatusMethodNotAllowed, "POST", "/demo/ledger", "")
}

func TestALostAnswerIsCommittedAndALostRequestIsNot(t *testing.T) {
	v := visit(t)
	id := v.logIn()
	if _, _, err := v.try("POST", "/authn/refresh", "", misfortuneHeader, "lose-request"); err == nil {
		t.Error("a request that was lost got an answer")
	}
	if got := v.refresh(misfortuneHeader, "unavailable"); got != http.StatusServiceUnavailable {
		t.Errorf("answered %d", got)
	}
	if got := v.refresh(misfortuneHeader, "nonsense"); got != http.StatusBadRequest {
		t.Errorf("answered %d", got)
	}
	if l := v.ledger(id); l.Generation != 1 || l.State != session.StateLive {
		t.Fatalf("before anything reached the session: %+v", l)
	}
	_, _, err := v.try("POST", "/authn/refresh", "", misfortuneHeader, "lose-answer")
	if !errors.Is(err, io.EOF) {
		t.Errorf("the answer was not lost: %v", err)
	}
	if l := v.ledger(id); l.Generation != 2 {
		t.Errorf("the refresh whose answer was lost is at generation %d", l.Generation)
	}
	// The jar has the old token still, and gets the same successor.
	if got := v.refresh(); got != http.StatusCreated {
		t.Errorf("the repetition was answered %d", got)
	}
	if l := v.ledger(id); l.Generation != 2 || l.Access == nil || l.Access.Generation != 2 {
		t.Errorf("after the repetition: %+v, %+v", l, l.Access)
	}
}

func TestTheLedgerTellsDurations(t *testing.T) {
	v := visit(t)
	id := v.logIn()
	l := v.ledger(id)
	day := (24 * time.Hour).Milliseconds()
	if l.RotatesIn != 0 || l.GraceFor != 0 || l.IdleEndsIn <= 6*day || l.IdleEndsIn > 7*day || l.EndsIn <= 23*day || l.EndsIn > 24*day {
		t.Errorf("after the login: %+v", l)
	}
	if a := l.Access; a == nil || a.ID == "" || a.EndsIn <= 0 || a.EndsIn > 60_000 || a.Issued < 0 {
		t.Errorf("the access token: %+v", l.Access)
	}
	if len(l.Events) != 1 || l.Events[0].Kind != "login" {
		t.Errorf("events: %+v", l.Events)
	}
	v.refresh()
	if l := v.ledger(id); l.GraceFor <= 0 || l.GraceFor > 2000 || l.RotatesIn <= l.GraceFor || l.RotatesIn > 4000 {
		t.Errorf("after a rotation: %+v", l)
	}
	for path, status := range map[string]int{
		"/demo/ledger":                  http.StatusBadRequest,
		"/demo/ledger?session=nonsense": http.StatusBadRequest,
		"/demo/ledger?session=b36dea40-eab2-44c1-8cac-c9187b91343b": http.StatusNotFound,
	} {
		v.want(status, "GET", path, "")
	}
}

func TestAThiefIsRefusedAndTheSessionEnds(t *testing.T) {
	v := visit(t)
	id := v.logIn()
	v.want(http.StatusConflict, "POST", "/demo/steal", "") // nothing was replaced
	v.refresh()
	v.want(http.StatusConflict, "POST", "/demo/steal", "") // still within the grace
	v.wait(v.ledger(id).GraceFor)
	var got robbery
	if err := json.Unmarshal(v.want(http.StatusOK, "POST", "/demo/steal", ""), &got); err != nil {
		t.Fatal(err)
	}
	if want := (robbery{Presented: 1, Newest: 2, Status: http.StatusUnprocessableEntity, Reason: "superseded"}); got != want {
		t.Errorf("the theft: %+v, want %+v", got, want)
	}
	l := v.ledger(id)
	if l.Strikes != 1 || l.StrikeEndsIn <= 0 || l.StrikeEndsIn > 6000 || l.Events[len(l.Events)-1].Kind != "superseded" {
		t.Fatalf("after the theft: %+v", l)
	}
	// The owner has no nonce of the thief's strike: it gets access for now only.
	if status := v.refresh(); status != http.StatusCreated {
		t.Errorf("the owner's refresh was answered %d", status)
	}
	for deadline := time.Now().Add(30 * time.Second); l.State == session.StateLive && time.Now().Before(deadline); l = v.ledger(id) {
		v.wait(max(l.StrikeEndsIn, 5))
	}
	if l.State != session.StateEnded || l.EndReason != session.RefreshReuse {
		t.Errorf("in the end: %+v", l)
	}
	if status := v.refresh(); status != http.StatusUnprocessableEntity {
		t.Errorf("a refresh after the end was answered %d", status)
	}
}

func TestAnOperatorRevokes(t *testing.T) {
	v := visit(t)
	id := v.logIn()
	v.want(http.StatusOK, "GET", "/orders", "")
	v.want(http.StatusNoContent, "POST", "/demo/revoke", "")
	v.want(http.StatusUnauthorized, "GET", "/orders", "")
	l := v.ledger(id)
	if l.State != session.StateEnded || l.EndReason != session.RevokedByAdmin || l.EndedBy != "operator at the console" {
		t.Errorf("revoked: %+v", l)
	}
}

// The page's endpoints act with the visitor's cookies, so pages of other sites
// must not reach them.
func TestT56MisfortunesAreNotForOtherSites(t *testing.T) {
	v := visit(t)
	id := v.logIn()
	for _, path := range []string{"/demo/revoke", "/demo/steal"} {
		if status, _ := v.do("POST", path, "", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.org"); status < 400 || status == http.StatusConflict {
			t.Errorf("%s from another site was answered %d", path, status)
		}
	}
	if l := v.ledger(id); l.State != session.StateLive {
		t.Errorf("the session is %s", l.State)
	}
	v.client.Jar = nil
	for _, path := range []string{"/demo/revoke", "/demo/steal"} {
		v.want(http.StatusUnauthorized, "POST", path, "")
	}
}
