package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/server"
)

// nodeVariable makes this test binary a node of a cluster: it serves by the
// configuration that the variable names, with a clock that is off by
// clockVariable.
const (
	nodeVariable  = "COUNTERFOIL_TEST_NODE"
	clockVariable = "COUNTERFOIL_TEST_CLOCK"
)

func init() {
	config := os.Getenv(nodeVariable)
	if config == "" {
		return
	}
	tune(os.LookupEnv, os.DirFS("/"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serveNode(ctx, config, os.Getenv(clockVariable))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveNode is the command serve, but for the clock.
func serveNode(ctx context.Context, path, clock string) error {
	ahead, err := time.ParseDuration(clock)
	if err != nil {
		return err
	}
	config, err := server.LoadConfig(path, os.LookupEnv)
	if err != nil {
		return err
	}
	config.Now, config.LogTo = func() time.Time { return time.Now().Add(ahead) }, os.Stderr
	s, err := server.Open(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(s.Serve(ctx), s.Close(context.WithoutCancel(ctx)))
}

// chaosKey is the master key that all nodes have.
var chaosKey = []byte("a key that all the nodes have 32")

// chaosNode is one node as a process, with the links that the test holds: to
// the database, and from the clients.
type chaosNode struct {
	t      *testing.T
	name   string
	config string
	data   string
	clock  time.Duration
	link   *link
	front  *front

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
	said    *bytes.Buffer
	over    bool // it is not started again

	admin atomic.Pointer[server.Running]
}

func newChaosNode(t *testing.T, name string, clock time.Duration, settings string, socket func() string, store func(address string) string, dice *dice) *chaosNode {
	t.Helper()
	dir := t.TempDir()
	n := &chaosNode{t: t, name: name, clock: clock, data: filepath.Join(dir, "data"), config: filepath.Join(dir, "counterfoil.yaml")}
	n.link = newLink(t, socket, dice)
	n.front = newFront(t, dice)
	text := fmt.Sprintf("data: %s\nnode: %s\nstore: %s\n%s", n.data, name, store(n.link.address()), settings)
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.end)
	return n
}

// start runs the node until it serves. One that ends at its start, because its
// database is away, is started again, as whoever watches over it would.
func (n *chaosNode) start() error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if err := n.launch(); err != nil {
			return err
		}
		if n.ready(deadline) {
			return nil
		}
	}
	return fmt.Errorf("node %s does not serve after a minute:\n%s", n.name, n.said.String())
}

func (n *chaosNode) launch() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		return errors.New("the test is over")
	}
	public, admin := freePort(n.t), freePort(n.t)
	n.said = &bytes.Buffer{}
	n.process = exec.Command(os.Args[0])
	n.process.Env = append(os.Environ(), nodeVariable+"="+n.config, clockVariable+"="+n.clock.String(),
		"COUNTERFOIL_MASTER_KEY="+base64.StdEncoding.EncodeToString(chaosKey),
		"COUNTERFOIL_LISTEN="+public, "COUNTERFOIL_INTERNAL_LISTEN="+freePort(n.t), "COUNTERFOIL_ADMIN_LISTEN="+admin)
	n.process.Stdout, n.process.Stderr = n.said, n.said
	n.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.process.Start(); err != nil {
		return err
	}
	n.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan struct{}) { _ = process.Wait(); close(exited) }(n.process, n.exited)
	n.admin.Store(&server.Running{Admin: "http://" + admin, Public: "http://" + public})
	return nil
}

// ready waits until the node serves, and tells whether it does.
func (n *chaosNode) ready(deadline time.Time) bool {
	at := n.admin.Load()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if answer, err := http.Get(at.Admin + "/admin/health"); err == nil {
			answer.Body.Close()
			running, found, err := server.FindRunning(n.data)
			if answer.StatusCode == http.StatusOK && err == nil && found && strings.EqualFold(running.Admin, at.Admin) {
				n.admin.Store(&running)
				n.front.leadTo(running.Public)
				return true
			}
		}
		select {
		case <-tick.C:
		case <-n.exited:
			<-tick.C
			return false
		}
	}
	return false
}

// kill ends the process as a power switch does. What it has sent is with the
// database, what the link holds is not.
func (n *chaosNode) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return
	}
	_ = n.process.Process.Kill()
	<-n.exited
	n.link.sever()
}

func (n *chaosNode) end() {
	n.mu.Lock()
	n.over = true
	n.mu.Unlock()
	n.kill()
}

func (n *chaosNode) signal(s os.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = n.process.Process.Signal(s)
}
