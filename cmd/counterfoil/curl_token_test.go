package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

// spy is a curl that writes down what anybody on the machine can see of it,
// and then is the real one.
const spy = `#!/bin/sh
if [ "$1" != --help ]; then
  { printf '%%s\n' "$0" "$@"; env; tr '\0' '\n' </proc/$$/cmdline; } >>'%s' 2>/dev/null
fi
exec '%s' "$@"
`

func TestCurlShowsTheTokenToNobody(t *testing.T) {
	d := sitDown(t)
	real, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal(err)
	}
	bin, seen := t.TempDir(), filepath.Join(d.state, "seen")
	d.write(filepath.Join(bin, "curl"), fmt.Sprintf(spy, seen, real))
	if err := os.Chmod(filepath.Join(bin, "curl"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	d.logIn()
	got := d.curl("-sS", "/orders", "--next", "/orders")
	if got.status != 0 || got.out != "orders of diku\norders of diku\n" {
		t.Errorf("got %+v", got)
	}
	text, err := os.ReadFile(seen)
	if err != nil || !bytes.Contains(text, []byte("/orders")) {
		t.Fatalf("seen: %q, %v", text, err)
	}
	kept, err := client.FileStore{Path: d.file()}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"access token": kept.Access, "refresh token": kept.Refresh, "password": clienttest.Password} {
		for where, text := range map[string]string{"arguments or environment": string(text), "output": got.out + got.errs} {
			if secret == "" || strings.Contains(text, secret) {
				t.Errorf("the %s is in the %s", name, where)
			}
		}
	}
}

// Wherever a redirect leads, the token goes to the gateway alone.
func TestCurlGivesTheTokenToTheGatewayAlone(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	var visits atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		visits.Add(1)
		if text, _ := json.Marshal(r.Header); bytes.Contains(text, []byte("access")) || r.Header.Get("Authorization") != "" || r.Header.Get("X-Okapi-Token") != "" {
			t.Errorf("elsewhere got %s", text)
		}
	}))
	defer elsewhere.Close()
	named := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	for path, to := range map[string]string{"/port": elsewhere.URL, "/host": named, "/within": d.URL + "/orders"} {
		d.Handle(path, http.RedirectHandler(to, http.StatusTemporaryRedirect))
	}
	d.ok("orders of diku\n", "-sSL", "/within")
	d.ok("", "-sSL", "/host")
	d.ok("", "-sSL", "/port")
	if n := visits.Load(); n != 2 {
		t.Errorf("%d visits elsewhere", n)
	}
	for _, args := range [][]string{{elsewhere.URL}, {"/orders", elsewhere.URL}, {"/orders", "--next", elsewhere.URL}, {"-L", "--location-trusted", "/host"}} {
		if got := d.curl(args...); got.status != 2 {
			t.Errorf("%q: got %+v", args, got)
		}
	}
	if n := visits.Load(); n != 2 {
		t.Errorf("%d visits elsewhere", n)
	}
}
