package folioclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/foliotest"
)

const (
	anna   = "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"
	berta  = "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007"
	nobody = "00000000-0000-4000-8000-00000000000a"
)

// world is a FOLIO, a client that asks it, and a clock.
type world struct {
	*Client
	folio *foliotest.Platform
	mu    sync.Mutex
	now   time.Time
	told  []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{folio: foliotest.Start(t, "diku", "other"), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.folio.AddUser("diku", foliotest.User{
		ID: anna, Username: "Anna", Active: foliotest.Active(true),
		Personal: &foliotest.Personal{LastName: "Ö", Email: "a@example.org"},
	})
	w.folio.AddUser("diku", foliotest.User{ID: berta, Username: "berta"})
	w.folio.Define("diku", "orders.all", "orders.get", "orders.sub")
	w.folio.Define("diku", "orders.sub", "orders.post", "orders.all")
	w.folio.Grant("diku", anna, "orders.all", "undefined")
	w.Client = &Client{
		URL: w.folio.URL, Now: w.clock, Timeout: 5 * time.Second,
		Token: func(tenant, id string, permissions []string) (string, error) {
			return tenant + "|" + id + "|" + strings.Join(permissions, ","), nil
		},
		Asked: func(question, outcome string, _ time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, question+" "+outcome)
		},
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func TestUsersAreFoundByIDAndByName(t *testing.T) {
	w := newWorld(t)
	want := directory.User{ID: anna, Tenant: "diku", Username: "Anna", Active: true, LastName: "Ö", Email: "a@example.org"}
	if got, err := w.User(t.Context(), "diku", anna); err != nil || got != want {
		t.Errorf("by id: %+v, %v", got, err)
	}
	for _, name := range []string{"Anna", "anna", "ANNA"} {
		if got, err := w.UserByName(t.Context(), "diku", name); err != nil || got != want {
			t.Errorf("by name %s: %+v, %v", name, got, err)
		}
	}
	if got, err := w.User(t.Context(), "diku", berta); err != nil || got.Active {
		t.Errorf("a record without active: %+v, %v", got, err)
	}
	for what, err := range map[string]error{
		"id":          second(w.User(t.Context(), "diku", nobody)),
		"name":        second(w.UserByName(t.Context(), "diku", "nobody")),
		"accent":      second(w.UserByName(t.Context(), "diku", "änna")), // mod-users finds Anna
		"from tenant": second(w.User(t.Context(), "other", anna)),
	} {
		if !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("nobody by %s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAUserWhoseTimeIsOverIsNotActive(t *testing.T) {
	w := newWorld(t)
	for date, active := range map[string]bool{
		"": true, "2026-01-02T03:04:06.000+00:00": true, "2026-01-02T03:04:05.000+00:00": false,
		"2026-01-02T03:04:05.000+0000": false, "2026-01-02T04:04:06+0100": true, "2020-01-01": true,
	} {
		w.folio.AddUser("diku", foliotest.User{ID: anna, Username: "Anna", Active: foliotest.Active(true), ExpirationDate: date})
		if got, err := w.User(t.Context(), "diku", anna); err != nil || got.Active != active {
			t.Errorf("expires %q: active %v, %v", date, got.Active, err)
		}
	}
}

func TestPermissionsAreReadGrantedAndExpanded(t *testing.T) {
	w := newWorld(t)
	granted, err := w.Grants(t.Context(), "diku", anna)
	if err != nil || !slices.Equal(granted.Permissions, []string{"orders.all", "undefined"}) {
		t.Errorf("granted %v, %v", granted, err)
	}
	expanded, err := w.Expanded(t.Context(), "diku", anna)
	slices.Sort(expanded.Permissions)
	if want := []string{"orders.all", "orders.get", "orders.post", "orders.sub", "undefined"}; err != nil || !slices.Equal(expanded.Permissions, want) {
		t.Errorf("expanded to %v, %v", expanded.Permissions, err)
	}
	if _, err := w.Grants(t.Context(), "diku", berta); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("nothing granted: %v", err)
	}
	if _, err := w.Expanded(t.Context(), "diku", berta); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("nothing granted, expanded: %v", err)
	}
	w.folio.Grant("diku", berta, "good", "*", "a,b", " blank")
	if got, err := w.Expanded(t.Context(), "diku", berta); err != nil || !slices.Equal(got.Permissions, []string{"good"}) {
		t.Errorf("names that cannot be granted: %q, %v", got.Permissions, err)
	}
}

func TestSetsAreExpanded(t *testing.T) {
	w := newWorld(t)
	got, err := w.Expand(t.Context(), "diku", []string{"orders.sub", "unknown"})
	if want := []string{"orders.all", "orders.get", "orders.post", "orders.sub", "unknown"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("expanded to %v, %v", got, err)
	}
	if got, err := w.Expand(t.Context(), "diku", nil); err != nil || len(got) != 0 {
		t.Errorf("nothing expanded to %v, %v", got, err)
	}
	// More than a module gives at once by itself, and than fits a URL.
	var names []string
	for i := range 60 {
		name := fmt.Sprintf(`SYS#mod-x-1.0.0#/a*/{id}#[GET, POST] "%d\`, i)
		w.folio.Define("diku", name, fmt.Sprint("sub", i))
		names = append(names, name)
	}
	got, err = w.Expand(t.Context(), "diku", names)
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		if !slices.Contains(got, fmt.Sprint("sub", i)) {
			t.Errorf("set %d is not expanded", i)
		}
	}
	// As names and as records, one below the other.
	w.folio.Misbehave(foliotest.Permissions, foliotest.Says("application/json",
		`{"permissions":[{"permissionName":"a","subPermissions":["b",{"permissionName":"c","subPermissions":["d"],"x":1}]}],"totalRecords":1}`))
	if got, err := w.Expand(t.Context(), "diku", []string{"a"}); err != nil || !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("expanded to %v, %v", got, err)
	}
}

func TestHeadersAreThoseOfModAuthtoken(t *testing.T) {
	w := newWorld(t)
	ctx := audit.WithActor(t.Context(), &audit.Actor{RequestID: "123456/orders"})
	if _, err := w.User(ctx, "diku", anna); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Expanded(t.Context(), "diku", anna); err != nil {
		t.Fatal(err)
	}
	asked := w.folio.Requests("")
	for name, want := range map[string]string{
		"X-Okapi-Tenant": "diku", "X-Okapi-Token": "diku|123456/orders|users.collection.get,users.basic-read.execute",
		"Content-Type": "application/json", "Accept": "application/json", "X-Okapi-Request-Id": "123456/orders", "X-Okapi-Url": "",
	} {
		if got := asked[0].Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := asked[1].Header.Get("X-Okapi-Token"); got != "diku||perms.users.get" || asked[1].Header["X-Okapi-Request-Id"] != nil {
		t.Errorf("without request id: %v", asked[1].Header)
	}
	if asked[1].Path != "/perms/users/"+anna+"/permissions" || asked[1].RawQuery != "expanded=true&indexField=userId" {
		t.Errorf("asked for %s?%s", asked[1].Path, asked[1].RawQuery)
	}
}

func TestTheAddressMayHaveAPrefix(t *testing.T) {
	w := newWorld(t)
	behind, err := url.Parse(w.folio.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.StripPrefix("/okapi", httputil.NewSingleHostReverseProxy(behind)))
	defer proxy.Close()
	for _, address := range []string{proxy.URL + "/okapi", proxy.URL + "/okapi/"} {
		w.URL = address
		if _, err := w.User(t.Context(), "diku", anna); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestConsortiumHomeTenant(t *testing.T) {
	w := newWorld(t)
	w.folio.AddUserTenant("diku", foliotest.UserTenant{UserID: anna, Username: "Anna", TenantID: "member1"})
	for _, tenant := range []string{"member2", "member3"} {
		w.folio.AddUserTenant("diku", foliotest.UserTenant{UserID: berta, Username: "berta", TenantID: tenant})
	}
	for _, c := range []struct{ name, id, wanted, want string }{
		{"anna", "", "", "member1"},
		{"", anna, "", "member1"},
		{"berta", "", "", "diku"},
		{"nobody", "", "", "diku"},
		{"", nobody, "", "diku"},
		{"anna", "", "member1", "member1"},
		{"anna", "", "member2", "diku"},
		{"berta", "", "member2", "member2"},
	} {
		if got, err := w.HomeTenant(t.Context(), "diku", c.name, c.id, c.wanted); err != nil || got != c.want {
			t.Errorf("%s%s is at home in %s, %v; want %s", c.name, c.id, got, err, c.want)
		}
	}
	w.folio.Misbehave(foliotest.Users, foliotest.Says("application/json", `{"userTenants":[{"userId":"`+berta+`","username":"berta","tenantId":"evil"}],"totalRecords":1}`))
	if got, err := w.HomeTenant(t.Context(), "diku", "anna", "", ""); err == nil {
		t.Errorf("the row of another user sent Anna to %s", got)
	}
	if got, err := w.HomeTenant(t.Context(), "diku", "", anna, ""); err == nil {
		t.Errorf("the row of another user sent Anna to %s", got)
	}
}

func TestFaultsAreFaultsAndNeverNobody(t *testing.T) {
	w := newWorld(t)
	w.Timeout = 200 * time.Millisecond
	faults := map[string]foliotest.Fault{
		"404":             foliotest.Fails(404),
		"403":             foliotest.Fails(403),
		"500":             foliotest.Fails(500),
		"204":             foliotest.Fails(204),
		"hangs":           foliotest.Hangs,
		"drops":           foliotest.Drops,
		"truncates":       foliotest.Truncates,
		"floods":          foliotest.Floods(maxAnswer),
		"redirects":       foliotest.Redirects(w.folio.URL + "/users"),
		"not JSON":        foliotest.Says("application/json", "OK"),
		"HTML":            foliotest.Says("text/html", `{"users":[],"permissionUsers":[],"permissions":[],"userTenants":[],"totalRecords":0}`),
		"null":            foliotest.Says("application/json", "null"),
		"nothing in it":   foliotest.Says("application/json", "{}"),
		"a member twice":  foliotest.Says("application/json", `{"users":[],"users":[],"permissionUsers":[],"permissionUsers":[],"permissions":[],"permissions":[],"userTenants":[],"userTenants":[],"permissionNames":[],"permissionNames":[],"totalRecords":0}`),
		"invalid UTF-8":   foliotest.Says("application/json", "{\"users\":[],\"permissionUsers\":[],\"permissions\":[],\"userTenants\":[],\"permissionNames\":[],\"totalRecords\":0,\"x\":\"\xff\"}"),
		"a page of none":  foliotest.Says("application/json", `{"users":[],"permissionUsers":[],"permissions":[],"totalRecords":3}`),
		"another's shape": foliotest.Says("application/json", `{"users":{},"permissionUsers":{},"permissions":{},"userTenants":{},"permissionNames":{},"totalRecords":1}`),
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			for _, id := range []string{foliotest.Users, foliotest.Permissions} {
				w.folio.Misbehave(id, fault)
				defer w.folio.Misbehave(id, nil)
			}
			for what, err := range map[string]error{
				"user":     second(w.User(t.Context(), "diku", anna)),
				"name":     second(w.UserByName(t.Context(), "diku", "anna")),
				"grants":   second(w.Grants(t.Context(), "diku", anna)),
				"expanded": second(w.Expanded(t.Context(), "diku", anna)),
				"expand":   second(w.Expand(t.Context(), "diku", []string{"orders.all"})),
				"home":     second(w.HomeTenant(t.Context(), "diku", "anna", "", "")),
			} {
				if err == nil || errors.Is(err, directory.ErrNotFound) || errors.Is(err, directory.ErrInvalid) {
					t.Errorf("%s: %v", what, err)
				} else if strings.Contains(err.Error(), anna) || strings.Contains(strings.ToLower(err.Error()), "username") {
					t.Errorf("%s: the error says whom it was about: %v", what, err)
				}
			}
		})
		w.advance(time.Minute) // the breaker tries again
	}
	if _, err := w.User(t.Context(), "diku", anna); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestFOLIOIsNotAskedWhileItDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	w.folio.Misbehave(foliotest.Users, foliotest.Fails(500))
	for range breakAfter + 3 {
		if _, err := w.User(t.Context(), "diku", anna); err == nil {
			t.Fatal("answered")
		}
	}
	if n := len(w.folio.Requests(foliotest.Users)); n != breakAfter {
		t.Errorf("asked %d times, want %d", n, breakAfter)
	}
	if _, err := w.User(t.Context(), "other", anna); errors.Is(err, errOpen) {
		t.Error("another tenant is cut off, too")
	}
	if _, err := w.Expanded(t.Context(), "diku", anna); err != nil {
		t.Errorf("another module is cut off, too: %v", err)
	}
	w.folio.Misbehave(foliotest.Users, nil)
	if _, err := w.User(t.Context(), "diku", anna); !errors.Is(err, errOpen) {
		t.Errorf("too early: %v", err)
	}
	w.advance(breakFor)
	for range 2 {
		if _, err := w.User(t.Context(), "diku", anna); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, want := range []string{"users 5xx", "users skipped", "users ok", "grants ok"} {
		if !slices.Contains(w.told, want) {
			t.Errorf("%s was not counted: %v", want, w.told)
		}
	}
}

func TestOneQuestionIsTriedAfterThePause(t *testing.T) {
	var b breaker
	now := time.Unix(0, 0)
	for range breakAfter {
		if !b.allow(now) {
			t.Fatal("open too early")
		}
		b.done(now, false)
	}
	now = now.Add(breakFor)
	if !b.allow(now) || b.allow(now) {
		t.Error("want one, and no second beside it")
	}
	b.done(now, false)
	if b.allow(now.Add(breakFor - 1)) {
		t.Error("asked again at once after a failure")
	}
	now = now.Add(breakFor)
	if !b.allow(now) {
		t.Error("not tried again")
	}
	if _, closed := b.done(now, true); !closed || !b.allow(now) || !b.allow(now) {
		t.Error("does not close")
	}
}

func TestACallerWhoLeavesIsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.folio.Misbehave(foliotest.Users, foliotest.Hangs)
	for range breakAfter + 1 {
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			for len(w.folio.Requests(foliotest.Users)) == 0 {
				time.Sleep(time.Millisecond)
			}
			leave()
		}()
		if _, err := w.User(ctx, "diku", anna); !errors.Is(err, context.Canceled) {
			t.Fatalf("left: %v", err)
		}
		w.folio.Forget()
	}
}
