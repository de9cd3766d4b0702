package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Pair is a primary with a synchronous standby: a commit is answered when both
// have it on their disks. It is of one test alone, which may kill the primary.
type Pair struct {
	t        testing.TB
	database string

	mu      sync.Mutex
	primary *Server // where Socket and URL lead
	standby *Server // nil once it is the primary
}

// NewPair starts a pair with an empty database.
func NewPair(t testing.TB) *Pair {
	t.Helper()
	bin, err := programs()
	needs(t, err)
	p := &Pair{t: t, database: "counterfoil"}
	p.primary, err = start(bin)
	p.keep(p.primary, err)
	Exec(t, p.primary.url.String(), `CREATE DATABASE `+p.database+` ENCODING 'UTF8' TEMPLATE template0`)
	p.standby, err = place(bin)
	p.keep(p.standby, err)
	err = p.standby.tool("pg_basebackup", "-h", p.primary.Dir, "-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync")
	if err == nil {
		err = os.WriteFile(filepath.Join(p.standby.data(), "standby.signal"), nil, 0o600)
	}
	if err == nil {
		err = p.standby.serve("-c", "primary_conninfo=host="+p.primary.Dir+" user=postgres application_name=standby")
	}
	if err != nil {
		t.Fatal(err)
	}
	// Set here and not at the start, so that the copy does not have it: the new
	// primary will have no standby to wait for.
	Exec(t, p.primary.url.String(), `ALTER SYSTEM SET synchronous_standby_names = 'standby'`)
	Exec(t, p.primary.url.String(), `SELECT pg_reload_conf()`)
	p.wait("the standby is not synchronous", func() bool {
		return Value[int](t, p.primary.url.String(), `SELECT count(*)::int FROM pg_stat_replication WHERE sync_state = 'sync'`) == 1
	})
	return p
}

func (p *Pair) keep(s *Server, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	used.Lock()
	used.servers = append(used.servers, s)
	used.Unlock()
	p.t.Cleanup(s.stop)
}

func (p *Pair) wait(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s after 30 s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// URL leads to the database on the primary.
func (p *Pair) URL() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := *p.primary.url
	own.Path = "/" + p.database
	return own.String()
}

// Address is the URL as it is for who comes by way of an address, which is to
// lead to Socket in the end.
func (p *Pair) Address(address string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", address, p.database)
}

// Socket is the path of the primary's socket.
func (p *Pair) Socket() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return filepath.Join(p.primary.Dir, ".s.PGSQL.5432")
}

// Kill ends the primary with all its processes, as a power switch does.
func (p *Pair) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.primary.kill()
}

// StopStandby stops the standby with all its processes, and returns what wakes
// them: as long as they sleep, no commit is answered.
func (p *Pair) StopStandby() (wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.standby.command.Process.Pid
	all := append([]int{first}, children(first)...)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	return sync.OnceFunc(func() {
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
}

// Promote makes the standby the primary, and returns when it is.
func (p *Pair) Promote() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.standby == nil {
		return errors.New("there is no standby any more")
	}
	Exec(p.t, p.standby.url.String(), `SELECT pg_promote(true, 30)`)
	p.primary, p.standby = p.standby, nil
	return nil
}

// kill leaves no process of the server, so that none of them finishes what it
// was about. The first must not start others meanwhile.
func (s *Server) kill() {
	first := s.command.Process
	_ = first.Signal(syscall.SIGSTOP)
	for _, pid := range children(first.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = first.Kill()
	<-s.exited
}

// children are the processes that a process started and that still run.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// Its name stands in brackets and may hold anything.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}
