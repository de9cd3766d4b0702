package folio_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/session"
)

// Threat: two programs read one body in two ways, and the second finds another
// user or password than the first let pass.
func TestT36AmbiguousJSONIsRefused(t *testing.T) {
	w := newWorld(t, setup{})
	const good = `"username":"reader","password":"secret of reader"`
	refreshToken := w.script("reader").field("refreshToken")
	for name, test := range map[string]struct {
		login string
		want  int
		says  string
	}{
		"as it should be":       {`{` + good + `}`, 201, ""},
		"blanks around":         {" \r\n\t{" + good + "}\n", 201, ""},
		"unknown members":       {`{"a":{"b":[1]},` + good + `}`, 201, ""},
		"escaped name":          {`{"\u0075sername":"reader","password":"secret of reader"}`, 201, ""},
		"duplicate name":        {`{"username":"diku_admin",` + good + `}`, 400, "a name occurs twice"},
		"duplicate, escaped":    {`{"\u0075sername":"diku_admin",` + good + `}`, 400, "a name occurs twice"},
		"duplicate inside":      {`{"x":{"y":1,"y":2},` + good + `}`, 400, "a name occurs twice"},
		"other case":            {`{"Username":"reader","password":"secret of reader"}`, 400, "You must provide a username or userId"},
		"other case, password":  {`{"username":"reader","PASSWORD":"secret of reader"}`, 400, "You must provide a password"},
		"long s":                {`{"uſername":"reader","paſſword":"secret of reader"}`, 400, "You must provide a username or userId"},
		"invalid UTF-8":         {"{\"username\":\"reader\xff\",\"password\":\"x\"}", 400, "not valid JSON"},
		"overlong UTF-8":        {"{\"username\":\"reader\xc0\xa2\",\"password\":\"x\"}", 400, "not valid JSON"},
		"invalid UTF-8, name":   {"{\"usern\xffame\":\"reader\",\"password\":\"x\"}", 400, "not valid JSON"},
		"lone surrogate":        {`{"username":"reader\ud800","password":"x"}`, 400, "not valid JSON"},
		"byte order mark":       {"\ufeff{" + good + "}", 400, "must be a JSON object"},
		"UTF-16":                {"\xff\xfe{\x00}\x00", 400, "must be a JSON object"},
		"trailing object":       {`{` + good + `}{}`, 400, "not valid JSON"},
		"trailing garbage":      {`{` + good + `};`, 400, "not valid JSON"},
		"trailing NUL":          {`{` + good + "}\x00", 400, "not valid JSON"},
		"cut off":               {`{` + good, 400, "not valid JSON"},
		"comma at the end":      {`{` + good + `,}`, 400, "not valid JSON"},
		"comment":               {`{/**/` + good + `}`, 400, "not valid JSON"},
		"single quotes":         {`{'username':'reader'}`, 400, "not valid JSON"},
		"null":                  {`null`, 400, "must be a JSON object"},
		"array":                 {`[{` + good + `}]`, 400, "must be a JSON object"},
		"string":                {`"reader"`, 400, "must be a JSON object"},
		"number for a name":     {`{"username":1,"password":"x"}`, 400, "wrong type"},
		"array for a password":  {`{"username":"reader","password":["x"]}`, 400, "wrong type"},
		"object for a password": {`{"username":"reader","password":{"$ne":""}}`, 400, "wrong type"},
		"true for a password":   {`{"username":"reader","password":true}`, 400, "wrong type"},
		"null for a name":       {`{"username":null,"password":"x"}`, 400, "You must provide a username or userId"},
		"deep arrays":           {`{"x":` + strings.Repeat("[", 50_000), 400, "not valid JSON"},
		"deep, and closed":      {`{"x":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}`, 400, "not valid JSON"},
		"too deep to be read":   {`{"x":` + strings.Repeat(`{"x":`, 100_000), 413, "64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do(call{method: "POST", path: "/authn/login", body: test.login, header: []string{"X-Okapi-Tenant: diku", jsonType, w.stranger()}})
			if a.status != test.want || !strings.Contains(a.body, test.says) {
				t.Errorf("login: %d %s, want %d %q", a.status, a.body, test.want, test.says)
			}
			if strings.Contains(a.body, "reader") {
				t.Errorf("the refusal repeats the body: %s", a.body)
			}
			if test.want == http.StatusCreated {
				return
			}
			// The same with a refresh token in the place of the name.
			body := strings.NewReplacer("password", "heal", "username", "refreshToken", "uſername", "refreſhToken", "\\u0075sername", "refresh\\u0054oken",
				"reader", refreshToken).Replace(test.login)
			if a := w.do(call{method: "POST", path: "/authn/refresh", body: body, header: []string{jsonType}}); a.status != 400 && a.status != 413 && a.status != 422 {
				t.Errorf("refresh: %d %s", a.status, a.body)
			}
		})
	}
	if a := w.refreshBody(refreshToken); a.status != http.StatusCreated {
		t.Errorf("a refused body consumed the token: %d", a.status)
	}
}

// Where the shape is ours, a misspelt member is no silent nothing.
func TestUnknownMembersAreRefusedWhereTheShapeIsOurs(t *testing.T) {
	w := newWorld(t, setup{})
	access := "X-Okapi-Token: " + w.script("diku_admin").field("accessToken")
	module := "X-Okapi-Token: " + w.moduleToken("diku", adminID, "auth.token.sign.post", "auth.token.refresh.post")
	for _, c := range []call{
		{path: "/authn/refresh", body: `{"refreshToken":"x","scope":"y"}`},
		{path: "/authn/logout", body: `{"RefreshToken":"x"}`},
		{path: "/authn/logout-all", body: `{"token":"x"}`},
		{path: "/authn/elevate", body: `{"password":"x","permission":"y"}`, header: []string{access}},
		{path: "/token/sign", body: `{"Payload":{"sub":"x"}}`, header: []string{module}, internal: true},
		{path: "/token/refresh", body: `{"refresh":"x"}`, header: []string{module}, internal: true},
		{path: "/token/invalidate", body: `{"refreshToken":"x","all":true}`, header: []string{module}, internal: true},
	} {
		c.method, c.header = "POST", append(c.header, jsonType)
		if a := w.do(c); a.status != http.StatusBadRequest || !strings.Contains(a.body, "a member that is not known here") {
			t.Errorf("%s %s: %d %s", c.path, c.body, a.status, a.body)
		}
	}
}

// Threat: a body is so large, or grows so large when it is decompressed, that
// it takes the memory. More than 64 KiB is not read, on any path.
func TestT59LargeBodiesAreNotRead(t *testing.T) {
	w := newWorld(t, setup{})
	access := "X-Okapi-Token: " + w.script("diku_admin").field("accessToken")
	module := "X-Okapi-Token: " + w.moduleToken("diku", adminID, "auth.token.sign.post", "auth.token.refresh.post")
	text := bytes.Repeat([]byte("x"), 1<<20)
	for _, c := range []call{
		{path: "/authn/login"},
		{path: "/authn/login-with-expiry"},
		{path: "/bl-users/login-with-expiry"},
		{path: "/authn/refresh"},
		{path: "/authn/logout"},
		{path: "/authn/logout-all"},
		{path: "/authn/elevate", header: []string{access}},
		{path: "/token/sign", header: []string{module}, internal: true},
		{path: "/token/refresh", header: []string{module}, internal: true},
		{path: "/token/invalidate", header: []string{module}, internal: true},
	} {
		body := &counter{r: io.MultiReader(strings.NewReader(`{"x":"`), bytes.NewReader(text))}
		r := httptest.NewRequest("POST", c.path, body)
		r.Header.Set("X-Okapi-Tenant", "diku")
		r.Header.Set("Content-Type", "application/json")
		for _, line := range c.header {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
		}
		recorder := httptest.NewRecorder()
		handler := w.public
		if c.internal {
			handler = w.internal
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		handler.ServeHTTP(recorder, r)
		runtime.ReadMemStats(&after)
		a := w.read(recorder.Result())
		if a.status != http.StatusRequestEntityTooLarge || a.code() != "body.too.large" {
			t.Errorf("%s: %d %s", c.path, a.status, a.body)
		}
		if body.n > 70<<10 {
			t.Errorf("%s: %d bytes were read", c.path, body.n)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 1<<20 {
			t.Errorf("%s: %d bytes were taken for it", c.path, taken)
		}
		for _, encoding := range []string{"gzip", "br", "identity, gzip", "GZIP"} {
			c.method, c.body = "POST", "{}"
			again := c
			again.header = append([]string{"Content-Encoding: " + encoding, "X-Okapi-Tenant: diku", jsonType}, c.header...)
			if a := w.do(again); a.status != http.StatusUnsupportedMediaType {
				t.Errorf("%s with Content-Encoding %s: %d", c.path, encoding, a.status)
			}
		}
	}
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestOnlyJSONIsRead(t *testing.T) {
	w := newWorld(t, setup{})
	for media, want := range map[string]int{
		"application/json":                         201,
		"application/json;charset=UTF-8":           201,
		"APPLICATION/JSON; charset=utf-8":          201,
		"application/json; charset=utf-16":         415,
		"application/json; charset=iso-8859-1":     415,
		"text/plain":                               415,
		"text/json":                                415,
		"application/x-www-form-urlencoded":        415,
		"multipart/form-data; boundary=x":          415,
		"application/json, text/plain":             415,
		"application/jsonp":                        415,
		"application/vnd.api+json":                 415,
		"":                                         415,
		";":                                        415,
		"application/json; charset=utf-8; charset": 415,
	} {
		a := w.do(call{
			method: "POST", path: "/authn/login", body: `{"username":"reader","password":"secret of reader"}`,
			header: []string{"X-Okapi-Tenant: diku", "Content-Type: " + media, w.stranger()},
		})
		if a.status != want {
			t.Errorf("%q: %d, want %d", media, a.status, want)
		}
	}
	// Without a body its type means nothing: Stripes sends one all the same.
	login := w.web("reader")
	for _, header := range []string{jsonType, "Content-Type: text/plain", "Accept: */*"} {
		if a := w.refresh(header, login.cookie(session.RefreshCookie)); a.status != http.StatusCreated {
			t.Errorf("empty body with %s: %d %s", header, a.status, a.body)
		}
	}
}
