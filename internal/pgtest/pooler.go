package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	poolerOnce   sync.Once
	pooler       *exec.Cmd
	poolerURL    *url.URL
	poolerAbsent error
)

// Pooled is the URL of a database as it is reached through PgBouncer, in
// transaction mode, with fewer connections than anybody wants. One PgBouncer
// serves all tests of a binary.
func Pooled(t testing.TB, database string) string {
	t.Helper()
	poolerOnce.Do(func() { poolerAbsent = startPooler() })
	needs(t, poolerAbsent)
	direct, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	own := *poolerURL
	own.Path = direct.Path
	return own.String()
}

func startPooler() error {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // not in everybody's path
		if _, err := os.Stat(program); err != nil {
			return errors.New("no pgbouncer here")
		}
	}
	if server.Dir == "" {
		return errors.New("the way to this server leads past the pooler")
	}
	who, err := owner(server.Dir)
	if err != nil {
		return err
	}
	users, config := filepath.Join(server.Dir, "users.txt"), filepath.Join(server.Dir, "pooler.ini")
	text := fmt.Sprintf(`[databases]
* = host=%[1]s port=5432
[pgbouncer]
unix_socket_dir = %[1]s
listen_port = 6432
pool_mode = transaction
default_pool_size = 4
max_client_conn = 1000
auth_type = trust
auth_file = %[2]s
`, server.Dir, users)
	if err := errors.Join(os.WriteFile(users, []byte("\"postgres\" \"\"\n"), 0o644), os.WriteFile(config, []byte(text), 0o644)); err != nil {
		return err
	}
	pooler = exec.Command(program, config)
	pooler.Dir, pooler.SysProcAttr = server.Dir, &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGTERM}
	if err := pooler.Start(); err != nil {
		pooler = nil
		return err
	}
	poolerURL = &url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{
		"host": {server.Dir}, "port": {"6432"}, "sslmode": {"disable"}, "default_query_exec_mode": {"simple_protocol"},
	}.Encode()}
	return answers(poolerURL.String())
}

func stopPooler() {
	poolerOnce.Do(func() {})
	if pooler == nil {
		return
	}
	_ = pooler.Process.Signal(syscall.SIGTERM)
	_ = pooler.Wait()
}

// answers waits until a server lets somebody in.
func answers(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
