package server

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// judged is an application behind a real proxy that asks the program, with the
// configuration of docs/forward-auth and the addresses of this test.
type judged struct {
	*running
	front string
	// reached is how often the application was asked.
	reached atomic.Int32
}

// proxies are what docs/forward-auth was run with.
var proxies = map[string]struct {
	file string
	// start is the command line for the file in a directory of its own.
	start func(t *testing.T, dir, file string) *exec.Cmd
}{
	"nginx": {"nginx.conf", func(t *testing.T, dir, file string) *exec.Cmd {
		main := "daemon off; worker_processes 1; pid " + dir + "/pid; error_log stderr warn;\nevents {}\nhttp { access_log off;\n"
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			main += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
		}
		path := filepath.Join(dir, "main.conf")
		write(t, path, main+"include "+file+";\n}\n")
		return exec.Command("nginx", "-e", "stderr", "-p", dir, "-c", path)
	}},
	"caddy": {"Caddyfile", func(t *testing.T, dir, file string) *exec.Cmd {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, "{\n\tadmin off\n}\n"+string(text))
		return exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", file)
	}},
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// behind starts the program, the application and the proxy; question replaces
// the one that the example asks.
func behind(t *testing.T, proxy, question string) *judged {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin")
	if _, err := exec.LookPath(proxy); err != nil {
		if ci := os.Getenv("CI"); ci != "" && ci != "false" {
			t.Fatalf("CI needs %s: %v", proxy, err)
		}
		t.Skipf("SKIPPED, NOTHING IS SHOWN ABOUT %s: %v (tools/proxies.sh installs it)", proxy, err)
	}
	config := testConfig(t)
	config.TrustedProxies = []string{"127.0.0.1/32"}
	config.Cookies.Insecure = true
	ttl, grace := session.Duration(3*time.Second), session.Duration(0)
	config.Policy.AccessTTL, config.Policy.Grace = &ttl, &grace
	j := &judged{running: start(t, config)}
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		j.reached.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"uri": r.RequestURI, "header": r.Header})
	}))
	t.Cleanup(application.Close)
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join("../../docs/forward-auth", proxies[proxy].file))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	host := func(u string) string { return strings.TrimPrefix(u, "http://") }
	edited := strings.NewReplacer("127.0.0.1:9130", host(j.URL(Public)), "127.0.0.1:9131", host(j.URL(Internal)),
		"127.0.0.1:8080", host(application.URL), "127.0.0.1:8000", port, "need=token&tenant=diku", question).Replace(string(text))
	file := filepath.Join(dir, proxies[proxy].file)
	write(t, file, edited)
	j.front = "http://" + port
	launch(t, proxies[proxy].start(t, dir, file), dir, port)
	return j
}

// launch runs a proxy until the test is over, and waits until it listens.
func launch(t *testing.T, command *exec.Cmd, dir, address string) {
	t.Helper()
	said := new(logged)
	command.Stdout, command.Stderr = said, said
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", command.Path, err, said)
		case <-time.After(20 * time.Millisecond): // neither tells when it listens
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// told is what the application heard of a request.
type told struct {
	URI    string
	Header http.Header
}

func (j *judged) get(client *http.Client, path string, headers ...string) (*http.Response, told, string) {
	j.t.Helper()
	request, err := http.NewRequest("GET", j.front+path, nil)
	if err != nil {
		j.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	answer, err := client.Do(request)
	if err != nil {
		j.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		j.t.Fatal(err)
	}
	var heard told
	if answer.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, &heard); err != nil {
			j.t.Fatalf("%s: %q: %v", path, text, err)
		}
	}
	return answer, heard, string(text)
}

func eachProxy(t *testing.T, question string, test func(t *testing.T, j *judged)) {
	for name := range proxies {
		t.Run(name, func(t *testing.T) { test(t, behind(t, name, question)) })
	}
}

// A browser logs in through the proxy, is let pass, refreshes when it is told
// that its token is over, and is shut out when it logs out.
func TestForwardAuthBrowser(t *testing.T) {
	eachProxy(t, "need=token&tenant=diku", func(t *testing.T, j *judged) {
		j.administer(201, "POST", "/counterfoil/tenants", `{"id":"diku"}`)
		j.administer(201, "POST", "/counterfoil/tenants/diku/users", `{"username":"reader","password":"correct horse battery"}`)
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Jar: jar}
		post := func(path, body string, want int) {
			t.Helper()
			request, _ := http.NewRequest("POST", j.front+path, strings.NewReader(body))
			request.Header = http.Header{"X-Okapi-Tenant": {"diku"}, "Content-Type": {"application/json"}}
			answer, err := browser.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode != want {
				t.Fatalf("%s: %d %s", path, answer.StatusCode, text)
			}
		}
		refused := func(code string) {
			t.Helper()
			before := j.reached.Load()
			answer, _, text := j.get(browser, "/page")
			if answer.StatusCode != 401 || !strings.Contains(text, `"code":"`+code+`"`) && answer.Header.Get("X-Counterfoil-Code") != code || !strings.HasPrefix(answer.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Fatalf("%d %v %s, want %s", answer.StatusCode, answer.Header, text, code)
			}
			if j.reached.Load() != before {
				t.Fatal("the application was asked")
			}
		}
		refused("TOKEN_MISSING")
		post("/authn/login-with-expiry", readerLogin, 201)
		at, _ := url.Parse(j.front)
		jar.SetCookies(at, []*http.Cookie{{Name: "own", Value: "1", Path: "/"}})
		_, heard, _ := j.get(browser, "/page?q=%2Fx", "X-Auth-Request-User", "forged", "X-Okapi-User-Id", "forged", "X-Okapi-Permissions", `["all"]`)
		h := heard.Header
		if heard.URI != "/page?q=%2Fx" || h.Get("X-Auth-Request-Preferred-Username") != "reader" || h.Get("X-Okapi-Tenant") != "diku" ||
			len(h.Get("X-Okapi-User-Id")) != 36 || h.Get("X-Okapi-Permissions") != "[]" || h.Get("X-Auth-Request-User") != h.Get("X-Okapi-User-Id") {
			t.Errorf("%+v", heard)
		}
		if cookies := h.Get("Cookie"); cookies != "own=1" {
			t.Errorf("the application got cookies %q", cookies)
		}
		// The browser may keep the cookie a second longer than the token lives.
		deadline := time.After(10 * time.Second)
		for {
			answer, _, text := j.get(browser, "/page")
			if answer.StatusCode == 401 {
				if strings.Contains(text, "TOKEN_INVALID") {
					t.Fatal(text)
				}
				break
			}
			select {
			case <-deadline:
				t.Fatal("the token is never over")
			case <-time.After(50 * time.Millisecond):
			}
		}
		post("/authn/refresh", "", 201)
		if answer, _, text := j.get(browser, "/page"); answer.StatusCode != 200 {
			t.Fatalf("after the refresh: %d %s", answer.StatusCode, text)
		}
		post("/authn/logout", "", 204)
		refused("TOKEN_MISSING")
	})
}

// TestT29ForwardAuthByRoute: what is asked about is what is served, whatever the
// proxy makes of a path.
func TestT29ForwardAuthByRoute(t *testing.T) {
	descriptor := `{"id":"app-1.0.0","provides":[{"id":"app","version":"1.0","handlers":[
		{"methods":["GET"],"pathPattern":"/open/*","permissionsRequired":[]},
		{"methods":["GET"],"pathPattern":"/slow","permissionsRequired":["slow.get"],"modulePermissions":["nested.get"]},
		{"methods":["GET"],"pathPattern":"/secret","permissionsRequired":["secret.get"]}]}]}`
	eachProxy(t, "tenant=diku&module=app-1.0.0", func(t *testing.T, j *judged) {
		access, _ := j.reader()
		j.module(descriptor, "http://127.0.0.1:1")
		_, heard, _ := j.get(http.DefaultClient, "/slow", "Authorization", "Bearer "+access)
		h := heard.Header
		if h.Get("X-Okapi-Permissions") != `["slow.get"]` || strings.Count(h.Get("X-Okapi-Token"), ".") != 2 || h.Get("X-Okapi-Token") == access || h.Get("Authorization") != "" {
			t.Fatalf("%+v", heard)
		}
		for _, c := range []struct {
			path    string
			headers []string
			status  int
		}{
			{"/open/x", nil, 200},
			{"/slow", nil, 401},
			{"/secret", []string{"X-Okapi-Token", access}, 403},
			{"/elsewhere", []string{"X-Okapi-Token", access}, 0},
			{"/open/%2e%2e/secret", nil, 0},
			{"/open/..%2fsecret", nil, 0},
			{"//secret", nil, 0},
			{"/open//secret", nil, 0},
			{"/open/..;/secret", nil, 0},
			{"/%73ecret", nil, 0},
			{"/secret", []string{"X-Original-URI", "/open/x", "X-Original-Method", "GET"}, 401},
			{"/secret", []string{"X-Forwarded-Uri", "/open/x", "X-Forwarded-Method", "GET"}, 401},
			{"/secret?need=nothing", nil, 401},
			{"/authn/verify", []string{"X-Original-URI", "/open/x", "X-Original-Method", "GET", "X-Forwarded-Uri", "/open/x", "X-Forwarded-Method", "GET"}, 404},
			{"/_verify", nil, 0},
		} {
			before := j.reached.Load()
			answer, _, text := j.get(http.DefaultClient, c.path, c.headers...)
			asked := j.reached.Load() > before
			if c.status == 0 && (answer.StatusCode < 400 || answer.StatusCode >= 500) || c.status != 0 && answer.StatusCode != c.status || asked != (c.status == 200) {
				t.Errorf("%s %v: %d %q, application asked: %v", c.path, c.headers, answer.StatusCode, text, asked)
			}
		}
	})
}

// When the program is away nobody passes.
func TestForwardAuthFailsClosed(t *testing.T) {
	eachProxy(t, "need=nothing&tenant=diku", func(t *testing.T, j *judged) {
		j.reader()
		if answer, _, text := j.get(http.DefaultClient, "/page"); answer.StatusCode != 200 {
			t.Fatalf("%d %s", answer.StatusCode, text)
		}
		before := j.reached.Load()
		j.stop()
		if err := <-j.done; err != nil {
			t.Fatal(err)
		}
		if answer, _, _ := j.get(http.DefaultClient, "/page"); answer.StatusCode < 500 || j.reached.Load() != before {
			t.Errorf("%d", answer.StatusCode)
		}
	})
}
