package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

// childMain is the second process of the test below: for each line it is told,
// it fetches the orders twenty times at once and says how that went.
func childMain() {
	base, path := os.Getenv("CLIENT_TEST_GATEWAY"), os.Getenv("CLIENT_TEST_FILE")
	if base == "" {
		return
	}
	s := &client.Session{
		BaseURL: base, Tenant: clienttest.Tenant, Store: client.FileStore{Path: path},
		Login: client.Password{Username: clienttest.Username, Password: clienttest.Password},
	}
	c := s.Client()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var all sync.WaitGroup
		failed := make(chan error, 20)
		for range 20 {
			all.Go(func() { failed <- finish(c.Get(base + "/orders")) })
		}
		all.Wait()
		close(failed)
		var err error
		for e := range failed {
			err = errors.Join(err, e)
		}
		fmt.Println(strings.ReplaceAll(fmt.Sprint(err), "\n", "; "))
	}
	os.Exit(0)
}

type child struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(t *testing.T, base, path string) *child {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), "CLIENT_TEST_GATEWAY="+base, "CLIENT_TEST_FILE="+path)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &child{in, bufio.NewScanner(out)}
}

func TestProcessesShareASessionFile(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	path := filepath.Join(t.TempDir(), "session.json")
	children := []*child{startChild(t, o.URL, path), startChild(t, o.URL, path), startChild(t, o.URL, path)}
	const rounds = 10
	for range rounds + 1 {
		for _, c := range children {
			_, err := io.WriteString(c.in, "go\n")
			must(t, err)
		}
		for _, c := range children {
			if !c.out.Scan() || c.out.Text() != "<nil>" {
				t.Fatalf("a process failed: %s", c.out.Text())
			}
		}
		o.Advance(clienttest.AccessTTL)
	}
	o.count(t, clienttest.Count{Logins: 1, Refreshes: rounds, Rotations: rounds, Sessions: 1})
}

func TestSessionsShareASessionFile(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	var clients []*http.Client
	for range 8 {
		s := o.Session()
		s.Store = store
		clients = append(clients, s.Client())
	}
	for range 11 {
		together(t, 1, func() error {
			var all sync.WaitGroup
			failed := make(chan error, 8*10)
			for _, c := range clients {
				for range 10 {
					all.Go(func() { failed <- o.get(t.Context(), c) })
				}
			}
			all.Wait()
			close(failed)
			var err error
			for e := range failed {
				err = errors.Join(err, e)
			}
			return err
		})
		o.Advance(clienttest.AccessTTL)
	}
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 10, Rotations: 10, Sessions: 1})
}

func TestSessionGoesOnAfterARestartOfTheProgram(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	for range 5 {
		s := o.Session()
		s.Store = store
		must(t, o.get(t.Context(), s.Client()))
	}
	o.count(t, clienttest.Count{Logins: 1, Sessions: 1})
	o.Advance(clienttest.AccessTTL)
	without := o.Session()
	without.Store, without.Login = store, nil
	must(t, o.get(t.Context(), without.Client()))
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
	must(t, without.Logout(t.Context()))
	if _, err := os.Stat(store.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

// A logout in one process is one for all that share the file.
func TestLogoutReachesTheOtherProcess(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	one, other := o.Session(), o.Session()
	one.Store, other.Store = store, store
	must(t, o.get(t.Context(), one.Client()))
	other.Login = nil
	must(t, o.get(t.Context(), other.Client()))
	must(t, one.Logout(t.Context()))
	ended(t, o.get(t.Context(), other.Client()), client.ReasonLoggedOut)
	o.count(t, clienttest.Count{Logins: 1})
}

// What another process got may have ended as well.
func TestRevocationReachesTheOtherProcess(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	one, other := o.Session(), o.Session()
	one.Store, other.Store = store, store
	must(t, o.get(t.Context(), one.Client()))
	must(t, o.get(t.Context(), other.Client()))
	o.Advance(clienttest.AccessTTL)
	must(t, o.get(t.Context(), other.Client()))
	o.EndSessions()
	o.Advance(-clienttest.AccessTTL) // one believes in its first token still
	must(t, o.get(t.Context(), one.Client()))
	must(t, o.get(t.Context(), other.Client()))
	o.count(t, clienttest.Count{Logins: 2, Refreshes: 2, Rotations: 1, Sessions: 1})
}

func TestSessionFileIsPrivate(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	s := o.Session()
	s.Store = store
	must(t, o.get(t.Context(), s.Client()))
	info, err := os.Stat(store.Path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	kept, err := store.Load(t.Context())
	must(t, err)
	must(t, os.Chmod(store.Path, 0o640))
	again := o.Session()
	again.Store = store
	_, err = again.Token(t.Context())
	if err == nil || !strings.Contains(err.Error(), "can be read by others") || strings.Contains(err.Error(), kept.Access) {
		t.Errorf("got %v", err)
	}
	must(t, os.WriteFile(store.Path, []byte(`{"accessToken":"half of a tok`), 0o600))
	must(t, os.Chmod(store.Path, 0o600))
	if _, err := store.Load(t.Context()); err == nil || strings.Contains(err.Error(), "half of") {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(store.Path + ".*")
	must(t, err)
	if len(left) != 1 || left[0] != store.Path+".lock" {
		t.Errorf("beside the file: %v", left)
	}
}

// After the clock was set back nobody knows how old the tokens in the file are.
func TestSessionFileFromTheFuture(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	s := o.Session()
	s.Store = store
	must(t, o.get(t.Context(), s.Client()))
	w := watch(o.Server)
	later := o.through(w)
	later.Store = store
	later.Now = func() time.Time { return o.Now().Add(-time.Hour) }
	must(t, o.get(t.Context(), later.Client()))
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
}

func TestSessionFileOfSomebodyElse(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	s := o.Session()
	s.Store = store
	must(t, o.get(t.Context(), s.Client()))
	for name, change := range map[string]func(*client.Session){
		"user":    func(s *client.Session) { s.Login = client.Password{Username: "admin", Password: "x"} },
		"tenant":  func(s *client.Session) { s.Tenant = "other" },
		"gateway": func(s *client.Session) { s.BaseURL = "http://localhost:1" },
	} {
		other := o.Session()
		other.Store = store
		change(other)
		if _, err := other.Token(t.Context()); err == nil || !strings.Contains(err.Error(), `session of "reader"`) {
			t.Errorf("another %s: got %v", name, err)
		}
	}
}

// Tokens that cannot be written down are used, and written down when they can.
func TestStoreThatFails(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	store := &failingStore{FileStore: client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}}
	s := o.Session()
	s.Store = store
	c := s.Client()
	must(t, o.get(t.Context(), c))
	store.fails = true
	for range 3 {
		o.Advance(clienttest.AccessTTL)
		must(t, o.get(t.Context(), c))
	}
	store.fails = false
	o.Advance(clienttest.AccessTTL)
	must(t, o.get(t.Context(), c))
	other := o.Session()
	other.Store = store
	must(t, o.get(t.Context(), other.Client()))
	// Each time the file's older token was seen to be older, and ours was used.
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 4, Rotations: 4, Sessions: 1})
}

type failingStore struct {
	client.FileStore
	fails bool
}

func (f *failingStore) Save(ctx context.Context, t *client.Tokens) error {
	if f.fails {
		return errors.New("disk full")
	}
	return f.FileStore.Save(ctx, t)
}

// lockless is a store that does not keep others out: while this process has
// read the file and asks the server, another one renews.
type lockless struct {
	client.FileStore
	meanwhile func()
}

func (l *lockless) Lock(context.Context) (func(), error) { return func() {}, nil }

func (l *lockless) Load(ctx context.Context) (*client.Tokens, error) {
	t, err := l.FileStore.Load(ctx)
	if meanwhile := l.meanwhile; meanwhile != nil {
		l.meanwhile = nil
		meanwhile()
	}
	return t, err
}

func TestSupersededTakesTheNewerTokenAndHeals(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	path := filepath.Join(t.TempDir(), "session.json")
	fast, slow := o.Session(), o.Session()
	store := &lockless{FileStore: client.FileStore{Path: path}}
	fast.Store, slow.Store = client.FileStore{Path: path}, store
	slow.Login = nil
	must(t, o.get(t.Context(), fast.Client()))
	must(t, o.get(t.Context(), slow.Client()))
	for range 3 {
		o.Advance(clienttest.AccessTTL)
		store.meanwhile = func() {
			if err := o.get(t.Context(), fast.Client()); err != nil {
				t.Error(err)
			}
			o.Advance(11 * time.Second) // past the grace
		}
		must(t, o.get(t.Context(), slow.Client()))
		o.Advance(time.Minute) // an open strike would have ended the session
		must(t, o.get(t.Context(), fast.Client()))
	}
	if got := o.Count(); got.Logins != 1 || got.Sessions != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSupersededWithoutTheNewerToken(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	first := o.refreshToken(t)
	thief, owner := o.Session(), o.Session()
	thief.Login, thief.RefreshToken = nil, first
	must(t, o.get(t.Context(), thief.Client()))
	o.Advance(11 * time.Second)
	owner.Login, owner.RefreshToken = nil, first
	ended(t, o.get(t.Context(), owner.Client()), client.ReasonSuperseded)
	if got := o.Count(); got.Refreshes != 2 {
		t.Errorf("an old token was presented again: %+v", got)
	}
}

func TestLockIsWaitedForAsLongAsTheCallerLikes(t *testing.T) {
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	unlock, err := store.Lock(t.Context())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := store.Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	unlock()
	unlock, err = store.Lock(t.Context())
	must(t, err)
	unlock()
}
