package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The bounds of what a proxy's question costs.
const (
	verifyShare = 0.75 // of the requests of a handler that decides nothing
	nginxShare  = 0.85 // of nginx's requests, with such a handler as the judge
)

// nginxAt is where Debian has it, which is not on everybody's path.
const nginxAt = "/usr/sbin/nginx"

// questioning is a proxy that asks as docs/forward-auth/nginx.conf does.
func questioning(address, token string) client {
	request := text("GET", "/authn/verify?need=token&tenant="+tenant, address, "X-Okapi-Token: "+token+"\r\n"+
		"X-Original-URI: /orders?query=x\r\nX-Original-Method: GET\r\nX-Forwarded-Host: library.example\r\nX-Forwarded-For: 10.1.2.3\r\n", nil)
	return expecting200(request)
}

func expecting200(request []byte) client {
	return func(status int, body []byte) ([]byte, error) {
		if status != 0 && status != 200 {
			return nil, fmt.Errorf("answered %d: %.200s", status, body)
		}
		return request, nil
	}
}

// measureVerify compares the verdict with a handler that answers the same
// headers, asked directly and by a real nginx in front of a module.
func (b *bench) measureVerify(ctx context.Context) (err error) {
	judge, err := startRole(ctx, "judge", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, judge.stop()) }()
	upstream, err := startRole(ctx, "upstream", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upstream.stop()) }()
	h, err := b.newHome(ctx, "verify")
	if err != nil {
		return err
	}
	defer h.remove()
	tokens, err := routed(ctx, h, upstream.address)
	if err != nil {
		return err
	}
	v := verifying{b, h, tokens, upstream.address}
	_, missing := os.Stat(nginxAt)
	var bare, verify, behindBare, behindVerify []figures
	for range b.rounds {
		for i, one := range []struct {
			into    *[]figures
			measure func(judge string) (figures, error)
			judge   string
		}{{&bare, v.directly, judge.address}, {&verify, v.directly, ""}, {&behindBare, v.behindNginx, judge.address}, {&behindVerify, v.behindNginx, ""}} {
			if i >= 2 && missing != nil {
				break
			}
			got, err := v.with(ctx, one.judge, one.measure)
			if err != nil {
				return err
			}
			*one.into = append(*one.into, got)
		}
	}
	b.table.baseline("bare net/http 200 with a verdict's headers, 32 connections", bare)
	b.table.against("/authn/verify, token in the cache", verify, bare)
	b.table.bound("  its share of the bare one's requests", "%.3f", ratio(verify, bare, rate), atLeast, verifyShare)
	if missing != nil {
		b.table.note("nginx was not measured, tools/proxies.sh installs it", missing.Error())
		return nil
	}
	b.table.baseline("nginx and a module, auth_request to the bare one", behindBare)
	b.table.against("nginx and a module, auth_request to /authn/verify", behindVerify, behindBare)
	b.table.bound("  its share of the requests with the bare one", "%.3f", ratio(behindVerify, behindBare, rate), atLeast, nginxShare)
	return nil
}

type verifying struct {
	*bench
	home     home
	tokens   []string
	upstream string
}

// with measures with a judge that runs already, or with the program.
func (v *verifying) with(ctx context.Context, judge string, measure func(judge string) (figures, error)) (figures, error) {
	if judge != "" {
		return measure(judge)
	}
	p, err := startCounterfoil(ctx, v.binary, v.home, "policy: {access_ttl: 2h}\ntrusted_proxies: [127.0.0.1/32]\n")
	if err != nil {
		return figures{}, err
	}
	got, err := measure(p.internal)
	return got, errors.Join(err, p.stop())
}

func (v *verifying) directly(judge string) (figures, error) {
	clients := make([]client, len(v.tokens))
	for i, token := range v.tokens {
		clients[i] = questioning(judge, token)
	}
	return run(judge, clients, v.warmUp, v.measure)
}

// behindNginx puts nginx, with the configuration of the documents, in front.
func (v *verifying) behindNginx(judge string) (got figures, err error) {
	dir, err := os.MkdirTemp(v.dir, "nginx-")
	if err != nil {
		return got, err
	}
	example, err := os.ReadFile("docs/forward-auth/nginx.conf")
	if err != nil {
		return got, err
	}
	port, err := freePort()
	if err != nil {
		return got, err
	}
	front := fmt.Sprintf("127.0.0.1:%d", port)
	site := strings.NewReplacer("127.0.0.1:9131", judge, "127.0.0.1:8080", v.upstream, "127.0.0.1:8000", front).Replace(string(example))
	// A connection of the bench lasts as long as the bench.
	main := "daemon off; worker_processes 1; pid " + dir + "/pid; error_log stderr warn;\nevents {}\nhttp { access_log off; keepalive_requests 1000000000;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	file := filepath.Join(dir, "main.conf")
	if err := os.WriteFile(file, []byte(main+site+"}\n"), 0o600); err != nil {
		return got, err
	}
	command := exec.Command(nginxAt, "-e", "stderr", "-p", dir, "-c", file)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return got, fmt.Errorf("nginx: %w", err)
	}
	defer func() { err = errors.Join(err, command.Process.Signal(syscall.SIGTERM), command.Wait()) }()
	if err := listening(front, 10*time.Second); err != nil {
		return got, err
	}
	clients := make([]client, len(v.tokens))
	for i, token := range v.tokens {
		clients[i] = expecting200(text("GET", "/orders?query=x", front, "X-Okapi-Token: "+token+"\r\n", nil))
	}
	return run(front, clients, v.warmUp, v.measure)
}

// listening waits until a server that does not tell takes connections.
func listening(address string, within time.Duration) error {
	for end := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		w, err := dial(address)
		if err == nil {
			return w.conn.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}
