package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/session"
)

// changed is the configuration of a test, with changes.
func changed(c *Config, change func(*Config)) *Config {
	next := *c
	change(&next)
	return &next
}

func (r *running) accessLives() time.Duration {
	r.t.Helper()
	status, text := r.send("POST", r.URL(Public)+"/authn/login", readerLogin, "X-Okapi-Tenant", "diku")
	var got struct{ AccessTokenExpiration time.Time }
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusCreated {
		r.t.Fatalf("login answered %d %s", status, text)
	}
	return time.Until(got.AccessTokenExpiration)
}

func TestReloadTakesOverWhatCanChangeAndNamesTheRest(t *testing.T) {
	c := testConfig(t)
	c.Log.Level = "info"
	c.CORS.Origins = []string{"https://old.example.org"}
	r := start(t, c)
	r.reader()
	if lives := r.accessLives(); lives < 8*time.Minute {
		t.Fatalf("access tokens live %s at first", lives)
	}
	short, shorter, jitter := session.Duration(4*time.Minute), session.Duration(2*time.Minute), 0.2
	next := changed(c, func(c *Config) {
		c.Log.Level = "debug"
		c.Drain = session.Duration(time.Second)
		c.Profiles = true
		c.Policy.AccessTTL, c.Policy.Jitter = &short, &jitter
		c.CORS.Origins = []string{"https://new.example.org"}
		c.Store = "postgres://cf:secret@db.example.org/cf?sslpassword=secret"
	})
	changes, err := r.Reload(next)
	if err != nil {
		t.Fatal(err)
	}
	want := []Change{
		{"cors.origins", "- https://old.example.org", "- https://new.example.org", false},
		{"drain", "30s", "1s", true},
		{"log.level", "info", "debug", true},
		{"policy.access_ttl", "", "4m0s", true},
		{"policy.jitter", "", "0.2", true},
		{"profiles", "false", "true", true},
		{"store", c.Store, "postgres://cf:xxxxx@db.example.org/cf?sslpassword=xxxxx", false},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Error(diff)
	}
	if lives := r.accessLives(); lives > 4*time.Minute {
		t.Errorf("access tokens live %s after policy.access_ttl was 4m", lives)
	}
	if status, _ := r.send("GET", r.URL(Admin)+"/debug/pprof/", ""); status != http.StatusOK {
		t.Errorf("profiles answer %d", status)
	}
	if r.live.drain() != time.Second {
		t.Errorf("drain is %s", r.live.drain())
	}
	text := c.LogTo.(*logged).String()
	for _, line := range []string{`"setting":"cors.origins"`, `"effect":"needs a restart"`, `"changed":7,"need_restart":2`, `"level":"DEBUG"`} {
		if !strings.Contains(text, line) {
			t.Errorf("the log has no %s", line)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("T-2: the log has a password")
	}

	// What was taken over is no news any more, what was not still is. A tenant's
	// policy in the store still wins over the file's, and that over everybody's.
	next = changed(next, func(c *Config) { c.Tenants = map[string]session.PolicyPatch{"diku": {AccessTTL: &shorter}} })
	changes, err = r.Reload(next)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, one := range changes {
		keys = append(keys, one.Key)
	}
	if diff := cmp.Diff([]string{"cors.origins", "store", "tenants.diku.access_ttl"}, keys); diff != "" {
		t.Error(diff)
	}
	if lives := r.accessLives(); lives > 2*time.Minute {
		t.Errorf("access tokens live %s after the tenant's was 2m", lives)
	}
	r.administer(200, "PUT", "/counterfoil/policies", `{"tenant":"diku","scope":"tenant","policy":{"access_ttl":"6m"}}`)
	if lives := r.accessLives(); lives < 4*time.Minute {
		t.Errorf("access tokens live %s, and the store says 6m", lives)
	}
}

func TestReloadOfTheSameChangesNothing(t *testing.T) {
	c := testConfig(t)
	r := start(t, c)
	changes, err := r.Reload(changed(c, func(*Config) {}))
	if err != nil || len(changes) != 0 {
		t.Errorf("changes %v, %v", changes, err)
	}
}

func TestReadyEndsBeforeTheListenersDo(t *testing.T) {
	c := testConfig(t)
	c.DrainDelay = session.Duration(30 * time.Second)
	r := start(t, c)
	r.reader()
	if status, text := r.send("GET", r.URL(Admin)+"/admin/ready", ""); status != http.StatusOK || text != "OK" {
		t.Fatalf("ready is %d %s", status, text)
	}
	r.stop()
	for deadline := time.Now().Add(10 * time.Second); ; {
		status, text := r.send("GET", r.URL(Admin)+"/admin/ready", "")
		if status == http.StatusServiceUnavailable && text == "starting or stopping" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ready is %d %s, long after the program was told to stop", status, text)
		}
	}
	// What a balancer sends meanwhile is answered, and it is alive.
	r.logIn()
	answer, err := http.Get(r.URL(Admin) + "/admin/live")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !answer.Close {
		t.Errorf("live is %d, and the connection ends: %v", answer.StatusCode, answer.Close)
	}
}

func TestNotReadyBeforeItServes(t *testing.T) {
	s, err := Open(t.Context(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	if s.live.serving.Load() {
		t.Error("ready before it serves")
	}
}
