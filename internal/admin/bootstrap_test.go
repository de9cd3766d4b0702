package admin_test

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func bootstrap(code string) string {
	return `{"code":"` + code + `","tenant":"diku","username":"admin","password":"` + password + `"}`
}

const bootstrapPath = "/counterfoil/bootstrap"

func TestT63BootstrapWorksOnce(t *testing.T) {
	w := newWorld(t)
	code, err := w.handler.Bootstrap.New()
	w.must(err)
	info, err := os.Stat(w.handler.Bootstrap.File)
	w.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %o", info.Mode().Perm())
	}
	if text, _ := os.ReadFile(w.handler.Bootstrap.File); strings.Contains(string(text), code) {
		t.Error("the file holds the code itself")
	}
	for _, wrong := range []string{"", code[1:], code + "A", strings.ToLower(code)} {
		w.call(403, "POST", bootstrapPath, bootstrap(wrong))
	}
	// A mistake does not use it up.
	w.call(422, "POST", bootstrapPath, strings.Replace(bootstrap(code), password, "swordfish", 1))
	w.call(422, "POST", bootstrapPath, strings.Replace(bootstrap(code), "diku", "Di-Ku", 1))

	// Of many at once, one succeeds.
	var group sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		group.Go(func() { statuses[i] = w.send("POST", bootstrapPath, bootstrap(code)).Code })
	}
	group.Wait()
	created := 0
	for _, status := range statuses {
		if status == 201 {
			created++
		} else if status != 403 {
			t.Errorf("answered %d", status)
		}
	}
	if created != 1 {
		t.Errorf("%d administrators were created", created)
	}
	got := w.call(200, "GET", users+"/admin", "")
	if !cmp.Equal(got["permissions"], []any{"counterfoil.all", "okapi.all"}) {
		t.Errorf("the administrator has %v", got["permissions"])
	}
	if events := w.events("diku"); !cmp.Equal(events, []string{"tenant_created by operator bootstrap", "user_created by operator bootstrap"}) {
		t.Errorf("the events are %v", events)
	}
	if _, err := os.Stat(w.handler.Bootstrap.File); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestT63BootstrapExpires(t *testing.T) {
	w := newWorld(t)
	code, err := w.handler.Bootstrap.New()
	w.must(err)
	w.pass(24 * time.Hour)
	w.call(403, "POST", bootstrapPath, bootstrap(code))
	code, err = w.handler.Bootstrap.New()
	w.must(err)
	w.pass(24*time.Hour - time.Second)
	w.call(201, "POST", bootstrapPath, bootstrap(code))
}

func TestT63BootstrapIsOverOnceSomebodyExists(t *testing.T) {
	w := newWorld(t)
	code, err := w.handler.Bootstrap.New()
	w.must(err)
	w.reader()
	w.call(403, "POST", bootstrapPath, bootstrap(code))
}

func TestBootstrapReplacesAnOlderCodeAndItsMode(t *testing.T) {
	w := newWorld(t)
	w.must(os.WriteFile(w.handler.Bootstrap.File, []byte("old"), 0o644))
	w.call(500, "POST", bootstrapPath, bootstrap("old")) // damaged, and no way in
	first, err := w.handler.Bootstrap.New()
	w.must(err)
	second, err := w.handler.Bootstrap.New()
	w.must(err)
	info, err := os.Stat(w.handler.Bootstrap.File)
	w.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %o", info.Mode().Perm())
	}
	w.call(403, "POST", bootstrapPath, bootstrap(first))
	w.call(201, "POST", bootstrapPath, bootstrap(second))
}
