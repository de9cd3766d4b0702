package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

const slowModule = `{"id":"mod-slow-1.0.0","name":"slow","provides":[{"id":"slow","version":"1.0","handlers":[
	{"methods":["GET"],"pathPattern":"/slow","permissionsRequired":["slow.get"],"modulePermissions":["nested.get"]},
	{"methods":["GET"],"pathPattern":"/nested","permissionsRequired":["nested.get"]}]}]}`

func TestShutdownFinishesRequestsInFlightAndTheirNestedCalls(t *testing.T) {
	r := start(t, testConfig(t))
	access, refresh := r.reader()
	began, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /nested", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "from inside") })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, request *http.Request) {
		close(began)
		<-release
		call, _ := http.NewRequestWithContext(request.Context(), "GET", request.Header.Get("X-Okapi-Url")+"/nested", nil)
		for _, name := range []string{"X-Okapi-Tenant", "X-Okapi-Token", "X-Okapi-Request-Id"} {
			call.Header.Set(name, request.Header.Get(name))
		}
		// A connection of its own: one kept from before would hide that the
		// internal listener is closed.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Do(call)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	})
	upstream := httptest.NewServer(mux)
	defer upstream.Close()
	r.module(slowModule, upstream.URL)

	slow := make(chan string, 1)
	go func() {
		status, text := r.send("GET", r.URL(Public)+"/slow", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", access)
		slow <- fmt.Sprint(status, " ", text)
	}()
	<-began
	// A refresh whose second half is still under way: its handler has asked
	// for the body, which is when the transport begins to send one.
	body, rest := io.Pipe()
	half := make(chan string, 1)
	go func() {
		request, _ := http.NewRequest("POST", r.URL(Public)+"/authn/refresh", body)
		request.Header = http.Header{"Content-Type": {"application/json"}, "Expect": {"100-continue"}}
		client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
		answer, err := client.Do(request)
		if err != nil {
			half <- err.Error()
			return
		}
		defer answer.Body.Close()
		half <- answer.Status
	}()
	text := `{"refreshToken":"` + refresh + `"}`
	_, _ = io.WriteString(rest, text[:20])

	r.stop()
	r.refused(Public)
	select {
	case err := <-r.done:
		t.Fatalf("the program ended before its requests: %v", err)
	default:
	}
	_, _ = io.WriteString(rest, text[20:])
	rest.Close()
	if got := <-half; got != "201 Created" {
		t.Errorf("the refresh in flight got %s", got)
	}
	close(release)
	if got := <-slow; got != "200 from inside" {
		t.Errorf("the request in flight got %s", got)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.refused(Internal)
	r.refused(Admin)
}

func TestDrainIsBounded(t *testing.T) {
	c := testConfig(t)
	c.Drain = 1 // ns
	r := start(t, c)
	access, _ := r.reader()
	began, release := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(began); <-release }))
	defer upstream.Close()
	defer close(release)
	r.module(slowModule, upstream.URL)
	request, _ := http.NewRequest("GET", r.URL(Public)+"/slow", nil)
	request.Header = http.Header{"X-Okapi-Tenant": {"diku"}, "X-Okapi-Token": {access}}
	go func() {
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
		}
	}()
	<-began
	r.stop()
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("ended with %v", err)
	}
}

func TestCloseTwiceIsHarmless(t *testing.T) {
	s, err := Open(t.Context(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestT62PublicListenersHaveNoInsight(t *testing.T) {
	c := testConfig(t)
	c.Profiles = true
	r := start(t, c)
	access, _ := r.reader()
	for _, path := range []string{"/metrics", "/admin/ready", "/admin/live", "/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/symbol", "/debug/pprof/heap", "/debug/vars", "/admin/health", "/counterfoil/sessions", "/counterfoil/keys", "/counterfoil/bootstrap"} {
		for _, listener := range []string{Public, Internal} {
			for _, headers := range [][]string{
				{"X-Okapi-Tenant", "diku"},
				{"X-Okapi-Tenant", "diku", "X-Okapi-Token", access},
				{"X-Okapi-Tenant", "diku", "Authorization", "Bearer " + r.admin.Token},
			} {
				if status, text := r.send("GET", r.URL(listener)+path, "", headers...); status != http.StatusNotFound && status != http.StatusUnauthorized {
					t.Errorf("%s on the %s listener answered %d %s", path, listener, status, text)
				}
			}
		}
		if status, _ := r.send("GET", r.URL(Public)+path, "", "X-Okapi-Tenant", "diku"); status != http.StatusNotFound {
			t.Errorf("%s on the public listener answered %d", path, status)
		}
	}
	for path, want := range map[string]int{"/debug/pprof/": http.StatusOK, "/debug/pprof/heap?debug=1": http.StatusOK, "/debug/pprof/profile?seconds=1": http.StatusOK, "/debug/pprof/profile?seconds=999": http.StatusBadRequest, "/debug/pprof/cmdline": http.StatusNotFound, "/debug/vars": http.StatusNotFound} {
		if status, _ := r.send("GET", r.URL(Admin)+path, ""); status != want {
			t.Errorf("%s on the admin listener answered %d, want %d", path, status, want)
		}
	}
	standard := start(t, testConfig(t))
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof/symbol", "/debug/pprof/trace"} {
		if status, _ := standard.send("GET", standard.URL(Admin)+path, ""); status != http.StatusNotFound {
			t.Errorf("%s, which nobody asked for, answered %d", path, status)
		}
	}
}

func TestHealthFollowsTheStore(t *testing.T) {
	r := start(t, testConfig(t))
	if status, text := r.send("GET", r.URL(Admin)+"/admin/health", ""); status != http.StatusOK || text != "OK" {
		t.Errorf("healthy is %d %s", status, text)
	}
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	if status, text := r.send("GET", r.URL(Admin)+"/admin/health", ""); status != http.StatusServiceUnavailable || text != "store unavailable" {
		t.Errorf("without its store it is %d %s", status, text)
	}
	if status, text := r.send("GET", r.URL(Admin)+"/admin/ready", ""); status != http.StatusServiceUnavailable || text != "store unavailable" {
		t.Errorf("without its store, ready is %d %s", status, text)
	}
	// Killing it would not bring the store back.
	if status, text := r.send("GET", r.URL(Admin)+"/admin/live", ""); status != http.StatusOK || text != "OK" {
		t.Errorf("without its store, live is %d %s", status, text)
	}
	_ = r.sessions.Close(context.Background()) // cannot store what it saw last
}

var sample = regexp.MustCompile(`(?m)^(counterfoil_\w+(?:\{[^}]*\})?) `)

// Whoever can choose a label can fill the memory of program and monitoring,
// and what is in a label is told to everybody who may scrape.
func TestMetricsHaveBoundedLabels(t *testing.T) {
	r := start(t, testConfig(t))
	access, refresh := r.reader()
	series := func() map[string]bool {
		_, text := r.send("GET", r.URL(Admin)+"/metrics", "")
		set := make(map[string]bool)
		for _, match := range sample.FindAllStringSubmatch(text, -1) {
			set[match[1]] = true
		}
		for _, secret := range []string{access, refresh, "diku", "reader", "evil", "127.0.0.1"} {
			if strings.Contains(text, secret) {
				t.Errorf("the metrics tell %q", secret)
			}
		}
		return set
	}
	mixed := func(i int) {
		evil := fmt.Sprintf("evil%d", i)
		r.send("GET", r.URL(Public)+"/"+evil, "", "X-Okapi-Tenant", "diku")
		r.send("GET", r.URL(Public)+"/authn/sessions/"+evil, "", "X-Okapi-Tenant", evil, "X-Okapi-Token", access)
		r.send("GET", r.URL(Public)+"/authn/sessions/_self", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", access)
		r.send("POST", r.URL(Public)+"/authn/login", `{"username":"`+evil+`","password":"x"}`, "X-Okapi-Tenant", "diku")
		r.send("POST", r.URL(Public)+"/authn/refresh", `{"refreshToken":"`+refresh+`"}`)
		r.send("POST", r.URL(Public)+"/authn/refresh", `{"refreshToken":"`+evil+`"}`)
		r.send(strings.ToUpper(evil), r.URL(Public)+"/authn/login", "")
		r.send("GET", r.URL(Public)+"/_/proxy/tenants/"+evil+"/modules", "", "X-Okapi-Token", access)
		r.send("GET", r.URL(Admin)+"/counterfoil/tenants/"+evil+"/users/"+evil, "", "Authorization", "Bearer "+r.admin.Token)
		r.send("GET", r.URL(Admin)+"/_/proxy/modules/"+evil, "")
		r.send("GET", r.URL(Internal)+"/"+evil+"/x", "", "X-Okapi-Tenant", evil)
	}
	// Until everything has happened that happens, also that logins are limited.
	before := series()
	for i := 0; i < 100 && !before[`counterfoil_login_total{result="limited"}`]; i++ {
		mixed(i)
		before = series()
	}
	for i := range 20 {
		mixed(i + 100)
	}
	for one := range series() {
		// What the rule decides depends on the time; its words are few, and
		// none is a caller's, which series has looked for.
		if !before[one] && !strings.Contains(one, "_bucket") && !strings.Contains(one, "outcome=") {
			t.Errorf("a series more: %s", one)
		}
	}
	allowed := regexp.MustCompile(`^(listener|route|class|le|outcome|result|reason|cache|kind|purpose|version|go)$`)
	name := regexp.MustCompile(`(\w+)="`)
	for one := range before {
		for _, match := range name.FindAllStringSubmatch(one, -1) {
			if !allowed.MatchString(match[1]) {
				t.Errorf("label %s in %s", match[1], one)
			}
		}
	}
	for _, want := range []string{
		`counterfoil_http_requests_total{class="2xx",listener="public",route="POST /authn/refresh"}`,
		`counterfoil_login_total{result="ok"}`, `counterfoil_token_cache_total{result="hit"}`,
	} {
		if !before[want] {
			t.Errorf("there is no %s", want)
		}
	}
}

func TestTheFirstStartPrintsACodeAndLaterOnesDoNot(t *testing.T) {
	c := testConfig(t)
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	first := s.Bootstrap
	if err := s.Close(t.Context()); err != nil || len(first) < 26 {
		t.Fatalf("the code %q has less than 128 bits, or %v", first, err)
	}
	for _, file := range []string{"bootstrap", "master.key", "counterfoil.db"} {
		info, err := os.Stat(c.Data + "/" + file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	r := start(t, c)
	if r.Bootstrap == "" || r.Bootstrap == first {
		t.Errorf("the second code is %q", r.Bootstrap)
	}
	in := `{"code":"%s","tenant":"diku","username":"admin","password":"correct horse battery"}`
	if status, _ := r.send("POST", r.URL(Admin)+"/counterfoil/bootstrap", fmt.Sprintf(in, first)); status != http.StatusForbidden {
		t.Errorf("the code of an earlier start answered %d", status)
	}
	if status, text := r.send("POST", r.URL(Admin)+"/counterfoil/bootstrap", fmt.Sprintf(in, r.Bootstrap)); status != http.StatusCreated {
		t.Errorf("the code answered %d %s", status, text)
	}
	if log := c.LogTo.(*logged).String(); strings.Contains(log, r.Bootstrap) || strings.Contains(log, "correct horse") {
		t.Error("the log has the code or the password")
	}
	r.stop()
	<-r.done
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r = start(t, c); r.Bootstrap != "" {
		t.Errorf("there is an administrator, and a code %q", r.Bootstrap)
	}
}

func TestASecondProgramOnTheSameDataIsRefused(t *testing.T) {
	c := testConfig(t)
	start(t, c)
	other := *c
	if s, err := Open(t.Context(), &other); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestRunningSaysHowToReachTheProgram(t *testing.T) {
	c := testConfig(t)
	c.Listen, c.AdminListen = ":0", "[::]:0"
	r := start(t, c)
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat(c.Data + "/running.json"); err == nil || time.Now().After(deadline) {
			break
		}
	}
	got, found, err := FindRunning(c.Data)
	if err != nil || !found || got.PID != os.Getpid() || got.Token != r.admin.Token {
		t.Fatalf("%+v, %v, %v", got, found, err)
	}
	for _, url := range []string{got.Admin, got.Public, got.Internal} {
		if !strings.HasPrefix(url, "http://127.0.0.1:") {
			t.Errorf("%s is no address to call", url)
		}
	}
	if status, _ := r.send("GET", got.Admin+"/admin/health", ""); status != http.StatusOK {
		t.Errorf("health answered %d", status)
	}
	r.stop()
	<-r.done
	if _, found, _ := FindRunning(c.Data); found {
		t.Error("it says so still")
	}
	if err := os.WriteFile(c.Data+"/running.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := FindRunning(c.Data); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a damaged file is %v", err)
	}
}
