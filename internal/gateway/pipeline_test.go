package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/token"
)

// around is a module with filters, and what it saw, in order. Each of its
// filters answers as the request header "X-<path of the filter's rewrite>" says.
type around struct {
	mu   sync.Mutex
	seen []seen
	by   []string
	// answer is called for each request, with the name of the filter.
	answer func(name string, body string, w http.ResponseWriter)
}

// at is the handler of one module of several that write into one list.
func (a *around) at(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.seen = append(a.seen, seen{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
		a.by = append(a.by, name)
		answer := a.answer
		a.mu.Unlock()
		if answer != nil {
			answer(name, string(body), w)
		}
	}
}

func (a *around) take() (by []string, all []seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	by, all = a.by, a.seen
	a.by, a.seen = nil, nil
	return by, all
}

func filterModule(name, phase, kind, more string) string {
	return fmt.Sprintf(`{"id":"mod-%s-1.0.0","filters":[{"methods":["GET","POST"],"pathPattern":"/work","phase":%q,"type":%q%s}]}`, name, phase, kind, more)
}

const workDescriptor = `{"id":"mod-work-1.0.0","provides":[{"id":"work","version":"1.0","handlers":[
	{"methods":["GET","POST"],"pathPattern":"/work","permissionsRequired":["echo.get"],"permissionsDesired":["wish.handler"]}]}]}`

// filtered is a world with a handler, and filters pre and post of a type.
func filtered(t *testing.T, kind string) (*world, *around) {
	w, a := newWorld(t, nil), &around{}
	w.module(workDescriptor, a.at("work"))
	w.module(filterModule("pre", "pre", kind, `,"modulePermissions":["pre.lent"],"permissionsDesired":["wish.filter"]`), a.at("pre"))
	w.module(filterModule("post", "post", kind, ""), a.at("post"))
	return w, a
}

func TestT20FiltersSeeARequestAndCannotSpeakAsTheGateway(t *testing.T) {
	for _, kind := range []string{"headers", "request-only"} {
		t.Run("7.4 44 "+kind, func(t *testing.T) {
			w, a := filtered(t, kind)
			w.grant("echo.get", "wish.handler", "wish.filter")
			a.answer = func(name, _ string, rw http.ResponseWriter) {
				rw.Header().Set("X-Note", name)
				rw.Header().Set("X-Okapi-User-Id", "forged by "+name)
				rw.Header().Set("X-Forwarded-For", "203.0.113.9")
				status := map[string]int{"pre": 202, "work": 201, "post": 203}[name]
				rw.WriteHeader(status)
				fmt.Fprint(rw, "from "+name)
			}
			got := call(t, "POST", w.public+"/work?q=1", "input", "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.access(), "X-Okapi-Filter", "auth /*")
			got.want(t, 201, "from work")
			if got.header.Get("X-Note") != "work" {
				t.Errorf("7.4 24 the client sees X-Note %q", got.header.Get("X-Note"))
			}
			by, all := a.take()
			if !slices.Equal(by, []string{"pre", "work", "post"}) {
				t.Fatalf("called %v", by)
			}
			pre, work, post := all[0], all[1], all[2]
			if pre.URI != "/work?q=1" || pre.Header.Get("X-Okapi-Filter") != "pre /work" || post.Header.Get("X-Okapi-Filter") != "post /work" ||
				work.Header.Get("X-Okapi-Filter") != "" {
				t.Errorf("filters %+v", all)
			}
			if want := map[string]string{"headers": "", "request-only": "input"}[kind]; pre.Body != want || work.Body != "input" {
				t.Errorf("bodies %q, %q", pre.Body, work.Body)
			}
			for _, s := range all {
				if s.Header.Get("X-Okapi-User-Id") != alice || s.Header.Get("X-Forwarded-For") != "" {
					t.Errorf("a filter's word counts: %v", s.Header)
				}
			}
			if work.Header.Get("X-Note") != "pre" {
				t.Errorf("X-Note %q", work.Header.Get("X-Note"))
			}
			for _, name := range []string{"X-Okapi-Request-Ip", "X-Okapi-Request-Timestamp", "X-Okapi-Request-Method", "X-Okapi-Url", "X-Okapi-Request-Id"} {
				if pre.Header.Get(name) == "" || post.Header.Get(name) == "" {
					t.Errorf("7.4 25 %s is missing", name)
				}
			}
			if post.Header.Get("X-Okapi-Handler-Result") != "201" || !strings.Contains(post.Header.Get("X-Okapi-Handler-Headers"), `"X-Note":"work"`) {
				t.Errorf("7.4 25 %v", post.Header)
			}
			for _, s := range all {
				if held := s.Header.Get("X-Okapi-Permissions"); !strings.Contains(held, "wish.filter") || !strings.Contains(held, "wish.handler") {
					t.Errorf("7.4 4 permissions %s", held)
				}
			}
			c := w.tokenOf(pre)
			if c.Module != "mod-pre-1.0.0" || !slices.Equal(c.Permissions, []string{"pre.lent"}) || w.tokenOf(post).Module != "mod-post-1.0.0" {
				t.Errorf("token of %+v", c)
			}
		})
	}
}

// tokenOf is the claims of the token that a module got.
func (w *world) tokenOf(s seen) token.Claims {
	w.t.Helper()
	c, err := w.sessions.Check(w.t.Context(), s.Header.Get("X-Okapi-Token"), token.KindModule)
	w.must(err)
	return c.Claims
}

// What filters answer lets nobody pass who was refused.
func TestT23FiltersHearOfRefusalsAndChangeNone(t *testing.T) {
	w, a := filtered(t, "headers")
	w.grant()
	for _, status := range []int{200, 203, 500} {
		a.answer = func(name, _ string, rw http.ResponseWriter) { rw.WriteHeader(status) }
		for _, test := range []struct {
			name, token string
			status      int
			body        string
		}{
			{"7.4 21 no permission", w.access(), 403, "Access for user 'alice'"},
			{"7.4 22 no token", "", 401, missingEcho},
			{"7.4 22 bad token", "a.e30.c", 401, invalid},
		} {
			t.Run(fmt.Sprint(test.name, " ", status), func(t *testing.T) {
				header := []string{"Origin", origin}
				if test.token != "" {
					header = append(header, "X-Okapi-Token", test.token)
				}
				w.get("/work", header...).want(t, test.status, test.body)
				by, all := a.take()
				if !slices.Equal(by, []string{"pre", "post"}) {
					t.Fatalf("called %v", by)
				}
				for _, s := range all {
					if s.Header.Get("X-Okapi-Auth-Result") != fmt.Sprint(test.status) || s.Header.Get("X-Okapi-Token") == test.token {
						t.Errorf("%v", s.Header)
					}
				}
			})
		}
	}
	t.Run("7.4 11 no route, no filter", func(t *testing.T) {
		call(t, "DELETE", w.public+"/work", "", "X-Okapi-Tenant", "diku").want(t, 404, "No suitable module found")
		call(t, "GET", w.public+"/work", "", "X-Okapi-Tenant", "other").want(t, 404, "No suitable module found")
		if by, _ := a.take(); len(by) > 0 {
			t.Errorf("called %v", by)
		}
	})
}

func TestHandlerFailsAndPostRuns(t *testing.T) {
	w, a := filtered(t, "headers")
	a.answer = func(name, _ string, rw http.ResponseWriter) {
		if name == "work" {
			http.Error(rw, "It does not work", 500)
		}
	}
	t.Run("7.4 23", func(t *testing.T) {
		w.get("/work", "X-Okapi-Token", w.access()).want(t, 500, "It does not work")
		by, all := a.take()
		if !slices.Equal(by, []string{"pre", "work", "post"}) || all[2].Header.Get("X-Okapi-Handler-Result") != "500" {
			t.Errorf("called %v", by)
		}
	})
}

// A chain of modules without phase: each gets the body of the one before it.
func TestChains(t *testing.T) {
	chained := func(t *testing.T) (*world, *around) {
		w, a := newWorld(t, nil), &around{}
		w.module(workDescriptor, a.at("work"))
		w.module(filterModule("first", "", "request-response", `,"level":"20"`), a.at("first"))
		w.module(filterModule("second", "", "request-response-1.0", `,"level":"30"`), a.at("second"))
		return w, a
	}
	post := func(t *testing.T, w *world) answer {
		return call(t, "POST", w.public+"/work", "X", "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.access(), "Content-Type", "text/plain")
	}
	t.Run("7.4 27", func(t *testing.T) {
		w, a := chained(t)
		a.answer = func(name, body string, rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "text/"+name)
			fmt.Fprint(rw, "hej "+body)
		}
		got := post(t, w)
		got.want(t, 200, "hej hej hej X")
		_, all := a.take()
		if len(all) != 3 || all[1].Header.Get("Content-Type") != "text/first" || all[2].Header.Get("Content-Type") != "text/second" {
			t.Errorf("%+v", all)
		}
	})
	t.Run("7.4 26", func(t *testing.T) {
		w, a := chained(t)
		a.answer = func(name, body string, rw http.ResponseWriter) {
			rw.Header().Set("X-Okapi-Stop", "because")
			rw.Header().Set("X-Okapi-Token", "secret")
			fmt.Fprint(rw, "stopped at "+name)
		}
		got := post(t, w)
		got.want(t, 200, "stopped at first")
		if got.header.Get("X-Okapi-Stop") != "because" || got.header.Get("X-Okapi-Token") != "" {
			t.Errorf("%v", got.header)
		}
		if by, _ := a.take(); len(by) != 1 {
			t.Errorf("called %v", by)
		}
	})
	t.Run("a filter without phase refuses", func(t *testing.T) {
		w, a := chained(t)
		a.answer = func(name, body string, rw http.ResponseWriter) { http.Error(rw, "no, says "+name, http.StatusConflict) }
		post(t, w).want(t, 409, "no, says first")
		if by, _ := a.take(); len(by) != 1 {
			t.Errorf("called %v", by)
		}
	})
}

func TestFilterThatIsDown(t *testing.T) {
	for _, phase := range []string{"pre", "post"} {
		t.Run("7.4 42 "+phase, func(t *testing.T) {
			w, a := newWorld(t, nil), &around{}
			w.module(workDescriptor, a.at("work"))
			w.moduleAt(filterModule("down", phase, "headers", ""), "http://127.0.0.1:1")
			w.get("/work", "X-Okapi-Token", w.access()).want(t, 503, "Module mod-down-1.0.0 cannot be reached")
		})
	}
}

func TestLogFiltersDisturbNobody(t *testing.T) {
	t.Run("7.4 44 request-log", func(t *testing.T) {
		w, a := newWorld(t, nil), &around{}
		logged := make(chan seen, 1)
		w.module(workDescriptor, a.at("work"))
		w.module(filterModule("log", "pre", "request-log", ""), func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			logged <- seen{Method: r.Method, Body: string(body), Header: r.Header}
			http.Error(rw, "no", 500)
		})
		call(t, "POST", w.public+"/work", "X", "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.access()).want(t, 200, "")
		if s := <-logged; s.Body != "X" || s.Header.Get("X-Okapi-Filter") != "pre /work" {
			t.Errorf("logged %+v", s)
		}
	})
}

func TestLargeBodiesThroughFilters(t *testing.T) {
	w, a := filtered(t, "request-only")
	header := []string{"X-Okapi-Tenant", "diku", "X-Okapi-Token", w.access()}
	t.Run("7.4 39 upload of 10 MB", func(t *testing.T) {
		call(t, "POST", w.public+"/work", strings.Repeat("x", 10<<20), header...).want(t, 200, "")
		if _, all := a.take(); len(all) != 3 || len(all[0].Body) != 10<<20 || len(all[1].Body) != 10<<20 {
			t.Error("the body did not arrive")
		}
	})
	t.Run("more than is held in memory", func(t *testing.T) {
		call(t, "POST", w.public+"/work", strings.Repeat("x", 17<<20), header...).want(t, 413, "")
		if by, _ := a.take(); len(by) > 0 {
			t.Errorf("called %v", by)
		}
	})
}

// A rewritePath leads nowhere but to the module.
func TestT40RewritePathsLeadNowhereElse(t *testing.T) {
	w, a := newWorld(t, nil), &around{}
	w.module(workDescriptor, a.at("work"))
	w.module(filterModule("pre", "pre", "headers", `,"rewritePath":"/hook"`), a.at("pre"))
	w.get("/work", "X-Okapi-Token", w.access()).want(t, 200, "")
	if _, all := a.take(); all[0].URI != "/hook/work" || all[1].URI != "/work" {
		t.Errorf("%+v", all)
	}
	for _, bad := range []string{"@evil.test", "//evil.test", "/../_", ".evil.test"} {
		if _, err := gateway.ParseDescriptor([]byte(filterModule("x", "pre", "headers", fmt.Sprintf(`,"rewritePath":%q`, bad)))); err == nil {
			t.Errorf("%s passes", bad)
		}
	}
}
