package server_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/gateway"
)

// okapi calls modules as folio-org/okapi does (ProxyService.java,
// TokenCache.java, TokenHeader.java): the phases in order, the filter's answer
// merged into the request, six headers removed and no others, and a token cache
// of three minutes that knows nothing of logout. It is written for these tests
// and shares nothing with the gateway but the routing table.
type okapi struct {
	t   testing.TB
	url string
	now func() time.Time
	// system says that modulePermissions go to the filter as names of generated
	// permission sets, as they do with a permission store of _tenantPermissions 1.1.
	system bool

	mu      sync.Mutex
	modules []okapiModule
	cache   map[string]okapiEntry
	trace   []string
	numbers int
	client  *http.Client
}

type okapiModule struct {
	descriptor *gateway.ModuleDescriptor
	url        string
}

// okapiEntry is a verdict that is remembered, with the headers as they were.
type okapiEntry struct {
	token               string
	userID, permissions *string
	expires             time.Time
}

// okapiStep is one module in the pipeline of a request.
type okapiStep struct {
	module              okapiModule
	entry               gateway.RoutingEntry
	token               string
	userID, permissions *string
}

func (s *okapiStep) handler() bool { return s.entry.Phase == "" }

var okapiLevels = map[string]string{"auth": "10", "pre": "40", "": "50", "post": "60"}

func newOkapi(t testing.TB, now func() time.Time) *okapi {
	o := &okapi{t: t, now: now, cache: make(map[string]okapiEntry), client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	t.Cleanup(o.client.CloseIdleConnections)
	o.url = server.URL
	return o
}

// use lets the tenant of the tests use a module.
func (o *okapi) use(descriptor, url string) {
	o.t.Helper()
	d, err := gateway.ParseDescriptor([]byte(descriptor))
	if err != nil {
		o.t.Fatal(err)
	}
	o.useModule(d, url)
}

func (o *okapi) useModule(d *gateway.ModuleDescriptor, url string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.modules = append(o.modules, okapiModule{d, url})
	slices.SortFunc(o.modules, func(a, b okapiModule) int { return cmp.Compare(a.descriptor.ID, b.descriptor.ID) })
}

// traced is which modules were called since it was asked last.
func (o *okapi) traced() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := strings.Join(o.trace, " ")
	o.trace = nil
	return text
}

func (o *okapi) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := r.Header.Clone()
	token, same := okapiToken(h)
	if !same {
		okapiError(w, 400, "Different tokens in Authentication and X-Okapi-Token. Use only one of them")
		return
	}
	h.Del("Authorization")
	if token != "" {
		h.Set("X-Okapi-Token", token)
	}
	if h.Get("X-Okapi-Tenant") == "" {
		tenant, err := gateway.UnverifiedTenant(token)
		if token != "" && err != nil {
			okapiError(w, 400, "Invalid Token: "+err.Error())
			return
		}
		h.Set("X-Okapi-Tenant", cmp.Or(tenant, "supertenant"))
	}
	o.context(h, r)
	steps, status, text := o.pipeline(h, r, token)
	if text != "" {
		okapiError(w, status, text)
		return
	}
	o.questions(h, r.URL.EscapedPath(), steps)
	body, _ := io.ReadAll(r.Body)
	o.run(w, r, h, steps, body)
}

func okapiError(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func okapiToken(h http.Header) (string, bool) {
	token := h.Get("X-Okapi-Token")
	authorization := h.Get("Authorization")
	if bearer, ok := strings.CutPrefix(authorization, "Bearer "); ok {
		authorization = strings.TrimSpace(bearer)
	}
	cookie := ""
	cookies, _ := http.ParseCookie(h.Get("Cookie"))
	for _, c := range cookies {
		if c.Name == "folioAccessToken" {
			cookie = c.Value
		}
	}
	for _, other := range []string{authorization, cookie} {
		if other != "" && token != "" && other != token {
			return "", false
		}
		token = cmp.Or(token, other)
	}
	return token, true
}

// context sets what Okapi measures itself.
func (o *okapi) context(h http.Header, r *http.Request) {
	o.mu.Lock()
	o.numbers++
	link := fmt.Sprintf("%06d/%s", o.numbers, strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 2)[0])
	o.mu.Unlock()
	if chain := h.Get("X-Okapi-Request-Id"); chain != "" {
		link = chain + ";" + link
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	h.Set("X-Okapi-Request-Id", link)
	h.Set("X-Okapi-Url", o.url)
	h.Set("X-Okapi-Request-Ip", host)
	h.Set("X-Okapi-Request-Timestamp", fmt.Sprint(o.now().UnixMilli()))
	h.Set("X-Okapi-Request-Method", r.Method)
}

// pipeline finds who is to be called, in order.
func (o *okapi) pipeline(h http.Header, r *http.Request, token string) (steps []*okapiStep, status int, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tenant, path := h.Get("X-Okapi-Tenant"), r.URL.EscapedPath()
	var descriptors []*gateway.ModuleDescriptor
	for _, m := range o.modules {
		descriptors = append(descriptors, m.descriptor)
	}
	table, err := gateway.NewTable(tenant, descriptors)
	if err != nil {
		o.t.Error(err)
	}
	route, _ := table.Match(r.Method, path, h.Get("X-Okapi-Module-Id"))
	h.Del("X-Okapi-Module-Id")
	if route == nil {
		return nil, 404, "No suitable module found for path and tenant"
	}
	cached := false
	for _, m := range o.modules {
		for _, f := range m.descriptor.Filters {
			if f.Phase != "" {
				steps = append(steps, &okapiStep{module: m, entry: f, token: token})
			}
		}
		if m.descriptor.ID == route.ModuleID {
			step := &okapiStep{module: m, entry: *route.Handler, token: token}
			entry, known := o.cache[okapiKey(tenant, r.Method, step, path, token)]
			if known && token != "" && o.now().Before(entry.expires) {
				step.token, step.userID, step.permissions, cached = entry.token, entry.userID, entry.permissions, true
			}
			steps = append(steps, step)
		}
	}
	if cached {
		steps = slices.DeleteFunc(steps, func(s *okapiStep) bool { return s.entry.Phase == "auth" })
	}
	slices.SortStableFunc(steps, func(a, b *okapiStep) int {
		return cmp.Compare(okapiLevels[a.entry.Phase], okapiLevels[b.entry.Phase])
	})
	return steps, 0, ""
}

func okapiKey(tenant, method string, s *okapiStep, path, token string) string {
	if s.entry.PathPattern != "" && s.entry.PermissionsRequiredTenant == nil {
		path = s.entry.PathPattern
	}
	return tenant + "|" + method + "|" + path + "|" + token
}

var okapiInternal = []string{
	"X-Okapi-Module-Tokens", "X-Okapi-Module-Permissions", "X-Okapi-Permissions-Required", "X-Okapi-Permissions-Desired",
	"X-Okapi-Extra-Permissions", "X-Okapi-Filter",
}

func okapiSanitize(h http.Header) {
	for _, name := range okapiInternal {
		h.Del(name)
	}
}

// questions sets what the auth filter is asked.
func (o *okapi) questions(h http.Header, path string, steps []*okapiStep) {
	okapiSanitize(h)
	required, desired, lent := map[string]bool{}, map[string]bool{}, map[string][]string{}
	for _, s := range steps {
		list := s.entry.PermissionsRequired
		own := strings.ReplaceAll(s.entry.PathPattern, "{tenantId}", h.Get("X-Okapi-Tenant"))
		if s.entry.PermissionsRequiredTenant != nil && s.token != "" && own == path {
			list = s.entry.PermissionsRequiredTenant
		}
		for _, p := range list {
			required[p] = true
		}
		for _, p := range s.entry.PermissionsDesired {
			desired[p] = true
		}
		if s.entry.ModulePermissions != nil {
			lent[s.module.descriptor.ID] = o.lent(s.module.descriptor.ID, &s.entry)
		}
	}
	join := func(name string, set map[string]bool) {
		if len(set) > 0 {
			h.Set(name, strings.Join(slices.Sorted(maps.Keys(set)), ","))
		}
	}
	join("X-Okapi-Permissions-Required", required)
	join("X-Okapi-Permissions-Desired", desired)
	text, _ := json.Marshal(lent)
	h.Set("X-Okapi-Module-Permissions", string(text))
}

func (o *okapi) lent(module string, e *gateway.RoutingEntry) []string {
	if o.system {
		return []string{"SYS#" + module + "#" + e.PathPattern + "#[" + strings.Join(e.Methods, ", ") + "]"}
	}
	return e.ModulePermissions
}

// call sends a request to one step, with the headers that Okapi sends.
func (o *okapi) call(r *http.Request, h http.Header, s *okapiStep, body []byte) (*http.Response, []byte, error) {
	h.Del("X-Okapi-Token")
	if s.token != "" {
		h.Set("X-Okapi-Token", s.token)
	}
	for name, value := range map[string]*string{"X-Okapi-User-Id": s.userID, "X-Okapi-Permissions": s.permissions} {
		if value != nil {
			h.Set(name, *value)
		}
	}
	h.Del("X-Okapi-Filter")
	if s.entry.Phase != "" {
		h.Set("X-Okapi-Filter", s.entry.Phase+" "+s.entry.PathPattern)
	}
	h.Set("X-Okapi-Match-Path-Pattern", s.entry.PathPattern)
	if s.entry.Type == "headers" {
		body = nil
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, s.module.url+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	out.Header = h.Clone()
	out.Header.Del("Content-Length")
	if s.entry.Phase != "auth" {
		out.Header.Del("X-Okapi-Additional-Token")
	}
	res, err := o.client.Do(out)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	o.mu.Lock()
	o.trace = append(o.trace, cmp.Or(s.entry.Phase, "handler"))
	o.mu.Unlock()
	return res, text, err
}

// run calls the steps and answers the client.
func (o *okapi) run(w http.ResponseWriter, r *http.Request, h http.Header, steps []*okapiStep, body []byte) {
	var answer *http.Response
	var text []byte
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		res, got, err := o.call(r, h, s, body)
		if err != nil {
			okapiError(w, 500, "proxyClient failure: "+err.Error())
			return
		}
		ok := res.StatusCode >= 200 && res.StatusCode <= 299
		if !ok && s.entry.Phase == "auth" {
			steps = append(steps[:i+1:i+1], slices.DeleteFunc(slices.Clone(steps[i+1:]), (*okapiStep).handler)...)
		}
		if s.entry.Phase == "auth" {
			o.learn(r, h, s, steps, res, ok)
			h.Set("X-Okapi-Auth-Result", fmt.Sprint(res.StatusCode))
		}
		if s.handler() {
			h.Set("X-Okapi-Handler-Result", fmt.Sprint(res.StatusCode))
		}
		// The handler's answer is the client's, or a failed filter's.
		if s.handler() || !ok && s.entry.Phase == "auth" {
			answer, text = res, got
		}
		seen := res.Header.Clone()
		okapiSanitize(seen)
		okapiSanitize(h)
		for name := range seen {
			if strings.HasPrefix(name, "X-") {
				h.Set(name, seen.Get(name))
			}
		}
	}
	okapiSanitize(answer.Header)
	for name, values := range answer.Header {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(text)
}

// learn takes the tokens of the filter's answer, and remembers them.
func (o *okapi) learn(r *http.Request, h http.Header, filter *okapiStep, steps []*okapiStep, res *http.Response, ok bool) {
	header, sent := res.Header["X-Okapi-Module-Tokens"]
	if !sent {
		return
	}
	var tokens map[string]string
	if err := json.Unmarshal([]byte(header[0]), &tokens); err != nil {
		o.t.Errorf("X-Okapi-Module-Tokens %q: %v", header, err)
	}
	original := filter.token
	value := func(name string) *string {
		if values := res.Header[name]; len(values) > 0 {
			return &values[0]
		}
		return nil
	}
	for _, s := range steps {
		token, named := tokens[s.module.descriptor.ID]
		if !named {
			if token, named = tokens["_"]; !named {
				continue
			}
		}
		s.token = token
		if ok && original != "" {
			o.mu.Lock()
			o.cache[okapiKey(h.Get("X-Okapi-Tenant"), r.Method, s, r.URL.EscapedPath(), original)] = okapiEntry{
				token, value("X-Okapi-User-Id"), value("X-Okapi-Permissions"), o.now().Add(3 * time.Minute),
			}
			o.mu.Unlock()
		}
	}
}
