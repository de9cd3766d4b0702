package server_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// smallDisk is a file system of its own with few bytes. It needs the right to
// mount. Where this process has none, the test runs in another that has it, in
// name spaces of its own, and false is returned.
func smallDisk(t *testing.T) (dir string, here bool) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		const inside = "COUNTERFOIL_TEST_IN_NAMESPACE"
		if os.Getenv(inside) != "" {
			t.Skipf("no disk that can be filled: %v", err)
		}
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), inside+"=1")
		again.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		said, err := again.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			t.Errorf("%v:\n%s", err, said)
		case err != nil, bytes.Contains(said, []byte("--- SKIP")):
			t.Skipf("no right to mount, here or in a name space: %v\n%s", err, said)
		}
		return "", false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

// fill takes what is left of a disk, to the last byte, and returns the file.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestFullDiskIs503AndLosesNothing(t *testing.T) {
	dir, here := smallDisk(t)
	if !here {
		return
	}
	o := openOffice(t, func(c *server.Config) { c.Data = filepath.Join(dir, "data") })
	first, ended := o.login(), o.login()
	acknowledged := o.refresh(first.Refresh).json.RefreshToken
	if got := o.post("/authn/logout", map[string]string{"refreshToken": ended.Refresh}); got.status != http.StatusNoContent {
		t.Fatalf("logout: %d", got.status)
	}
	orders := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(orders.Close)
	o.enable("mod-orders-1.0.0", `[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"]}]`, orders.URL)
	o.wait(time.Minute)
	ballast := fill(t, dir)

	// All at once, since each waits for five seconds before it gives up.
	calls := map[string]func() *reply{
		"refresh by body": func() *reply { return o.refresh(acknowledged) },
		"refresh by cookie": func() *reply {
			return o.post("/authn/refresh", nil, "Cookie", session.RefreshCookie+"="+acknowledged)
		},
		"logout": func() *reply { return o.post("/authn/logout", nil, "Cookie", session.RefreshCookie+"="+acknowledged) },
		"login": func() *reply {
			return o.post("/authn/login", map[string]string{"username": "reader", "password": readerPW}, "X-Okapi-Tenant", "diku")
		},
	}
	var running sync.WaitGroup
	for name, call := range calls {
		running.Go(func() {
			got := call()
			if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || len(got.cookies) > 0 {
				t.Errorf("%s: %d, Retry-After %q, cookies %v, want 503, a time and none", name, got.status, got.header.Get("Retry-After"), got.cookies)
			}
		})
	}
	running.Wait()
	called, err := o.send(http.MethodGet, o.URL(server.Public)+"/orders", nil, "X-Okapi-Token", first.Access)
	o.must(err)
	if called.status != http.StatusOK {
		t.Errorf("a call of a module: %d %s, want it to go on", called.status, called.body)
	}

	// Whoever still waits is served once there is room.
	waiting := make(chan *reply)
	go func() { waiting <- o.refresh(acknowledged) }()
	time.AfterFunc(time.Second, func() { _ = os.Remove(ballast) })
	got := <-waiting
	if got.status != http.StatusCreated {
		t.Fatalf("with room again: %d %s", got.status, got.body)
	}
	o.close() // and what was answered is on the disk
	o.start()
	t.Cleanup(func() { o.close() })
	o.wait(time.Minute)
	if again := o.refresh(got.json.RefreshToken); again.status != http.StatusCreated {
		t.Errorf("an acknowledged rotation was lost: %d %s", again.status, again.body)
	}
	if again := o.refresh(ended.Refresh); again.status != http.StatusUnprocessableEntity {
		t.Errorf("an acknowledged logout was lost: %d", again.status)
	}
}
