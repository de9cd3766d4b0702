package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

const timed = `{"id":"mod-timed-1.0.0","provides":[{"id":"_timer","version":"1.0","interfaceType":"system","handlers":[
	{"methods":["POST"],"pathPattern":"/timer/call","unit":"millisecond","delay":"20","modulePermissions":["timed.run"]},
	{"methods":["POST"],"pathPattern":"/timer/off","unit":"millisecond","delay":"0"},
	{"methods":["POST"],"pathPattern":"/timer/daily","schedule":{"cron":"0 3 30 2 *","zone":"CET"}}]}]}`

// nodes is a cluster whose list of nodes a test chooses.
type nodes struct {
	session.Cluster
	list chan []session.Node // one, looked at and put back
}

func (n *nodes) Nodes(context.Context) ([]session.Node, error) {
	list := <-n.list
	n.list <- list
	return list, nil
}

func (n *nodes) set(list ...session.Node) {
	<-n.list
	n.list <- list
}

func TestTimers(t *testing.T) {
	cluster := &nodes{list: make(chan []session.Node, 1)}
	now := time.Now()
	self := session.Node{ID: "b", Self: true, Started: now}
	cluster.list <- []session.Node{self}
	w := newWorld(t, func(_ *gateway.Gateway, s *session.Service) {
		cluster.Cluster = s.Cluster
		s.Cluster = cluster
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.gateway.RunTimers(ctx); close(done) }()
	defer func() { stop(); <-done }()
	fired := make(chan seen)
	handler := func(name string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			select {
			case fired <- seen{Method: r.Method, URI: name + r.RequestURI, Header: r.Header}:
			case <-r.Context().Done():
			}
		}
	}
	w.module(timed, handler("old "))

	t.Run("7.4 45 fires again and again, with a token of the module", func(t *testing.T) {
		for range 2 {
			s := <-fired
			if s.Method != "POST" || s.URI != "old /timer/call" {
				t.Fatalf("fired %+v", s)
			}
			c := w.tokenOf(s)
			if c.Module != "mod-timed-1.0.0" || c.Tenant != "diku" || c.UserID != "" || len(c.Permissions) != 1 || c.Permissions[0] != "timed.run" {
				t.Errorf("token %+v", c)
			}
		}
	})
	t.Run("7.4 45 listed", func(t *testing.T) {
		boss := w.operator("okapi.all")
		a := w.manage("GET", "/_/proxy/tenants/diku/timers/mod-timed_0", "", "X-Okapi-Token", boss)
		a.want(t, 200, "")
		sameJSON(t, a.body, `{"id":"mod-timed_0","modified":false,"routingEntry":{"methods":["POST"],"pathPattern":"/timer/call",
			"unit":"millisecond","delay":"20","modulePermissions":["timed.run"]}}`)
		if a := w.manage("GET", "/_/proxy/tenants/diku/timers", "", "X-Okapi-Token", boss); strings.Count(a.body, `"modified"`) != 3 {
			t.Errorf("%s", a.body)
		}
		w.manage("GET", "/_/proxy/tenants/diku/timers/mod-timed_7", "", "X-Okapi-Token", boss).want(t, 404, "mod-timed_7")
	})
	t.Run("7.4 45 patched, for one tenant", func(t *testing.T) {
		patch := func(id, body string) answer {
			return w.manage("PATCH", "/_/proxy/tenants/diku/timers"+id, body, "X-Okapi-Token", w.operator("okapi.timers"))
		}
		patch("/mod-timed_0", `{"delay":"0"}`).want(t, 204, "")
		sameJSON(t, w.manage("GET", "/_/proxy/tenants/diku/timers/mod-timed_0", "", "X-Okapi-Token", w.operator("okapi.all")).body,
			`{"id":"mod-timed_0","modified":true,"routingEntry":{"methods":["POST"],"pathPattern":"/timer/call",
			"unit":"millisecond","delay":"0","modulePermissions":["timed.run"]}}`)
		patch("", `{"id":"mod-timed_1","routingEntry":{"unit":"millisecond","delay":"10"}}`).want(t, 204, "")
		for s := range fired {
			if s.URI == "old /timer/off" {
				break
			}
		}
		for range 3 {
			if s := <-fired; s.URI != "old /timer/off" {
				t.Errorf("fired %s, which is off", s.URI)
			}
		}
		patch("/mod-timed_1", `{}`).want(t, 204, "")
		patch("/mod-timed_0", `{}`).want(t, 204, "")
		for s := range fired {
			if s.URI == "old /timer/call" {
				break
			}
		}
		for _, bad := range []struct {
			id, body string
			status   int
		}{
			{"/mod-timed_9", `{"delay":"1"}`, 404},
			{"/mod-timed_0", `{"delay":"-1"}`, 400},
			{"/mod-timed_0", `{"unit":"week","delay":"1"}`, 400},
			{"/mod-timed_0", `{"schedule":{"cron":"* * * * *"}}`, 501},
			{"/mod-timed_0", `{"dealy":"1"}`, 400},
			{"", `{"id":"mod-timed_9"}`, 404},
		} {
			patch(bad.id, bad.body).want(t, bad.status, "")
		}
	})
	t.Run("another node is older", func(t *testing.T) {
		cluster.set(self, session.Node{ID: "a", Started: now.Add(-time.Hour)})
		for quiet := 0; quiet < 2; { // the first may have begun before
			select {
			case <-fired:
				quiet = 0
			case <-time.After(200 * time.Millisecond):
				quiet++
			}
		}
		cluster.set(self, session.Node{ID: "c", Started: now})
		<-fired
	})
	t.Run("7.4 45 survives an upgrade", func(t *testing.T) {
		next := strings.Replace(timed, "1.0.0", "1.1.0", 1)
		w.must(w.gateway.Register(t.Context(), false, parsed(t, next)))
		w.must(w.gateway.SaveInstance(t.Context(), instanceOf("mod-timed-1.1.0", w.listen(handler("new ")))))
		// What has begun ends first: the change does not wait for it.
		_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-timed-1.1.0", Action: "enable"}}, &gateway.InstallOptions{})
		w.must(err)
		for s := range fired {
			if s.URI == "new /timer/call" {
				break
			}
		}
		for range 3 {
			if s := <-fired; s.URI != "new /timer/call" {
				t.Errorf("fired %s", s.URI)
			}
		}
	})
	t.Run("7.4 45 ends with the module", func(t *testing.T) {
		_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-timed-1.1.0", Action: "disable"}}, &gateway.InstallOptions{})
		w.must(err)
		for quiet := 0; quiet < 2; {
			select {
			case <-fired:
				quiet = 0
			case <-time.After(200 * time.Millisecond):
				quiet++
			}
		}
	})
}

// Clients reach no timer, and no system interface at all.
func TestTimersAreNoRoutes(t *testing.T) {
	w := newWorld(t, nil)
	w.module(timed, echo)
	call(t, "POST", w.public+"/timer/call", "", "X-Okapi-Tenant", "diku").want(t, 404, "No suitable module")
}

func TestUpgrade(t *testing.T) {
	w := openWorld(t)
	w.must(w.gateway.Register(t.Context(), false, parsed(t, minimal), parsed(t, newer), parsed(t, needy)))
	_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{
		{ID: "mod-min-1.0.0", Action: "enable"}, {ID: "mod-needy", Action: "enable"},
	}, &gateway.InstallOptions{})
	w.must(err)
	w.manage("POST", "/_/proxy/tenants/diku/upgrade", "[]").want(t, 400, "The body of an upgrade must be empty")
	sameJSON(t, w.manage("POST", "/_/proxy/tenants/diku/upgrade?simulate=true", "").body, `[{"id":"mod-min-1.1.0","from":"mod-min-1.0.0","action":"enable"}]`)
	sameJSON(t, w.manage("POST", "/_/proxy/tenants/diku/upgrade", "").body, `[{"id":"mod-min-1.1.0","from":"mod-min-1.0.0","action":"enable"}]`)
	sameJSON(t, w.manage("POST", "/_/proxy/tenants/diku/upgrade", "").body, `[]`)
}
