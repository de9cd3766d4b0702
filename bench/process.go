package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement.
type process struct {
	command *exec.Cmd
	address string
	// admin and internal are Counterfoil's other listeners, and started how long
	// it took from exec until it answered.
	admin, internal string
	started         time.Duration
	done            chan error
}

// startRole starts this program in a role.
func startRole(ctx context.Context, role, upstream string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, self, "-role", role, "-upstream", upstream)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{command: command, done: make(chan error, 1)}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start", role), err, command.Process.Kill())
	}
	p.address = strings.TrimSpace(line)
	go func() { p.done <- command.Wait() }()
	return p, nil
}

// startCounterfoil starts the real binary on a home and waits until
// it has announced itself.
func startCounterfoil(ctx context.Context, binary string, h home, config string) (*process, error) {
	file := filepath.Join(h.data, "bench.yaml")
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if h.store != "" {
		config += fmt.Sprintf("\nstore: %q", h.store)
	}
	config += fmt.Sprintf("\ndata: %s\nlisten: 127.0.0.1:%d\ninternal_listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nlog: {level: warn}\n", h.data, port)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, binary, "serve", "--config", file)
	command.Stderr = os.Stderr
	begin := time.Now()
	if err := command.Start(); err != nil {
		return nil, err
	}
	p := &process{command: command, address: fmt.Sprintf("127.0.0.1:%d", port), done: make(chan error, 1)}
	go func() { p.done <- command.Wait() }()
	for {
		if w, err := dial(p.address); err == nil {
			status, _, err := w.do(text("GET", "/.well-known/jwks.json", p.address, "", nil))
			w.conn.Close()
			if err == nil && status == 200 {
				p.started = time.Since(begin)
				break
			}
		}
		select {
		case err := <-p.done:
			return nil, errors.Join(errors.New("counterfoil ended at start"), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
	running, err := os.ReadFile(filepath.Join(h.data, "running.json"))
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	var announced struct{ Admin, Internal string }
	if err := json.Unmarshal(running, &announced); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.admin, p.internal = strings.TrimPrefix(announced.Admin, "http://"), strings.TrimPrefix(announced.Internal, "http://")
	return p, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return strconv.Atoi(port)
}

func (p *process) stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(20 * time.Second):
		return errors.Join(errors.New("did not stop in 20 s"), p.command.Process.Kill())
	}
}

// processor is how long a process has kept processors busy, with the children
// that it has waited for, and how much of that in the kernel.
func processor(pid int) (whole, kernel time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name of the program stands in brackets and may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks [4]int64 // its own: in programs, in the kernel; its children's
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(fields[11+i], 10, 64); err != nil {
			return 0, 0, err
		}
	}
	const tick = 10 * time.Millisecond // of Linux, for programs
	return time.Duration(ticks[0]+ticks[1]+ticks[2]+ticks[3]) * tick, time.Duration(ticks[1]+ticks[3]) * tick, nil
}

// memory is the resident set in bytes.
func (p *process) memory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("no VmRSS")
	}
	kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
	return kilobytes << 10, err
}
