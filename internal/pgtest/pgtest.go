// Package pgtest gives tests a real PostgreSQL.
//
// It starts one server for each test binary, in a directory of its own, with
// the durability that a server has by default: a test that passes without fsync
// says nothing. It stops it when the tests are over, and when the test binary
// dies. COUNTERFOIL_TEST_POSTGRES may name a server to use instead; its user
// must be allowed to make databases.
//
// Only tests import it, and measurements.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running PostgreSQL.
type Server struct {
	// Dir holds its data and its socket; empty if it is somebody else's server.
	Dir string

	url     *url.URL
	bin     string
	owner   *syscall.Credential
	command *exec.Cmd
	exited  chan struct{}
	output  *bytes.Buffer
}

var (
	once   sync.Once
	server *Server
	absent error
	made   atomic.Int64
	used   struct {
		sync.Mutex
		names, spare []string
		servers      []*Server // those of pairs
	}
)

// Main runs the tests of a package and stops the server. A package calls it from
// TestMain.
func Main(m *testing.M) int {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		once.Do(func() {})
		stopAll()
		os.Exit(1)
	}()
	code := m.Run()
	once.Do(func() {})
	stopAll()
	return code
}

func stopAll() {
	used.Lock()
	defer used.Unlock()
	for _, s := range append(used.servers, server) {
		s.stop()
	}
}

// Database makes an empty database for one test and returns its URL. Without a
// server the test is skipped, and fails where CI is set.
func Database(t testing.TB) string {
	t.Helper()
	once.Do(func() { server, absent = find() })
	needs(t, absent)
	name := fmt.Sprintf("counterfoil_test_%d_%d", os.Getpid(), made.Add(1))
	Exec(t, server.url.String(), `CREATE DATABASE `+name+` ENCODING 'UTF8' TEMPLATE template0`)
	used.Lock()
	defer used.Unlock()
	used.names = append(used.names, name)
	own := *server.url
	own.Path = "/" + name
	return own.String()
}

// needs skips a test where there is no PostgreSQL, and fails it where CI is set.
func needs(t testing.TB, absent error) {
	t.Helper()
	if absent == nil {
		return
	}
	if ci := os.Getenv("CI"); ci != "" && ci != "false" {
		t.Fatalf("CI needs PostgreSQL: %v", absent)
	}
	t.Skipf("SKIPPED, NOTHING IS SHOWN ABOUT PostgreSQL: %v (tools/postgres.sh installs it)", absent)
}

// Reused is a database that an earlier test left, or a new one. Making one takes
// longer than most tests. When this test is over, clean is run in it, which must
// bring it back to what a first use makes of an empty one.
func Reused(t testing.TB, clean string) string {
	t.Helper()
	used.Lock()
	var database string
	if n := len(used.spare); n > 0 {
		database, used.spare = used.spare[n-1], used.spare[:n-1]
	}
	used.Unlock()
	if database == "" {
		database = Database(t)
	}
	t.Cleanup(func() {
		if t.Failed() {
			return // it may be worth a look
		}
		Exec(t, database, clean)
		used.Lock()
		defer used.Unlock()
		used.spare = append(used.spare, database)
	})
	return database
}

// Exec runs a statement in a database, as an operator would.
func Exec(t testing.TB, database, sql string, args ...any) {
	t.Helper()
	conn := connect(t, database)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Value runs a query for one value.
func Value[T any](t testing.TB, database, sql string, args ...any) (value T) {
	t.Helper()
	conn := connect(t, database)
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func connect(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// find is the server to use.
func find() (*Server, error) {
	if named := os.Getenv("COUNTERFOIL_TEST_POSTGRES"); named != "" {
		u, err := url.Parse(named)
		if err != nil {
			return nil, fmt.Errorf("COUNTERFOIL_TEST_POSTGRES: %w", err)
		}
		return &Server{url: u}, nil
	}
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	return start(bin)
}

// programs finds the directory of the newest server programs.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append([]string{path}, found...)
	}
	if len(found) == 0 {
		return "", errors.New("no initdb here")
	}
	path, err := filepath.EvalSymlinks(found[len(found)-1])
	return filepath.Dir(path), err
}

func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return n
}

// start makes a cluster of its own and serves it on a socket in its directory.
func start(bin string) (*Server, error) {
	s, err := place(bin)
	if err != nil {
		return nil, err
	}
	err = s.tool("initdb", "-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "trust", "--no-instructions", "--no-sync")
	if err == nil {
		err = s.serve()
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// place makes a directory for a server.
func place(bin string) (*Server, error) {
	dir, err := os.MkdirTemp("", "counterfoil-pg")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, bin: bin, output: &bytes.Buffer{}}
	s.url = &url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{"host": {dir}, "sslmode": {"disable"}}.Encode()}
	if s.owner, err = owner(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

// tool runs one of the programs that make a data directory, on this server's.
func (s *Server) tool(name string, args ...string) error {
	c := exec.Command(filepath.Join(s.bin, name), append([]string{"-D", s.data()}, args...)...)
	c.SysProcAttr, c.Dir = &syscall.SysProcAttr{Credential: s.owner}, s.Dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// serve starts the server and returns when it lets somebody in.
func (s *Server) serve(args ...string) error {
	s.command = exec.Command(filepath.Join(s.bin, "postgres"), append([]string{
		"-D", s.data(), "-k", s.Dir,
		"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "logging_collector=off",
	}, args...)...)
	s.command.Dir, s.command.Stdout, s.command.Stderr = s.Dir, s.output, s.output
	// It goes down in good order if the test binary dies.
	s.command.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Pdeathsig: syscall.SIGINT}
	if err := s.command.Start(); err != nil {
		s.command = nil
		return err
	}
	s.exited = make(chan struct{})
	go func() {
		_ = s.command.Wait()
		close(s.exited)
	}()
	return s.ready()
}

// ready waits until the server lets somebody in, or ends.
func (s *Server) ready() error {
	answered := make(chan error, 1)
	go func() { answered <- answers(s.url.String()) }()
	select {
	case <-s.exited:
		return fmt.Errorf("postgres ended: %s", s.output)
	case err := <-answered:
		return err
	}
}

// owner is as whom the server runs: it refuses to run as root.
func owner(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
	}
	return nil, errors.New("postgres does not run as root, and there is no user postgres or nobody")
}

// stop ends the server in its fast way and removes what it kept. From somebody
// else's server it drops what the tests made.
func (s *Server) stop() {
	switch {
	case s == nil:
		return
	case s.Dir == "":
		s.drop()
		return
	case s.command == nil:
		_ = os.RemoveAll(s.Dir)
		return
	}
	if s == server { // and not one of a pair
		stopPooler()
	}
	_ = s.command.Process.Signal(syscall.SIGINT)
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		_ = s.command.Process.Kill()
		<-s.exited
	}
	_ = os.RemoveAll(s.Dir)
}

func (s *Server) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url.String())
	if err != nil {
		return
	}
	defer conn.Close(ctx)
	for _, name := range used.names {
		_, _ = conn.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
	}
}
