package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// serveVariable makes this test binary the program: it serves by the
// configuration that the variable names, until it is killed.
const serveVariable = "COUNTERFOIL_TEST_SERVE"

func init() {
	if config := os.Getenv(serveVariable); config != "" {
		os.Exit(run(context.Background(), []string{"serve", "--config", config}, os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
	}
}

const (
	crashClients  = 16
	crashSessions = 250 // of each client, so that nearly always a rotation is under way
	crashGrace    = 2 * time.Second
)

// Threat: a program that dies between answer and disk, or between two writes,
// forgets a rotation and takes the owner for a thief, or forgets a logout and
// lets the thief go on.
func TestT53KilledProgramLosesNothingThatItAcknowledged(t *testing.T) {
	kills := 30
	if os.Getenv("COUNTERFOIL_LONG") != "" {
		kills = 500
	}
	p := newKilled(t)
	clients := make([]*crashClient, crashClients)
	for i, tokens := range p.provision() {
		if clients[i%crashClients] == nil {
			clients[i%crashClients] = &crashClient{program: p, dice: rand.New(rand.NewPCG(53, uint64(i)))}
		}
		c := clients[i%crashClients]
		c.kept = append(c.kept, &keptSession{id: tokens.Session, access: tokens.Access, tokens: []string{tokens.Refresh}})
	}
	p.start()
	var stop atomic.Bool
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() { c.work(&stop) })
	}
	dice := rand.New(rand.NewPCG(53, 53))
	started := time.Now()
	for range kills {
		<-time.After(200*time.Millisecond + time.Duration(dice.Int64N(int64(1500*time.Millisecond))))
		p.kill()
		p.start()
	}
	stop.Store(true)
	running.Wait()
	took := time.Since(started)
	total := crashClient{}
	for _, c := range clients {
		total.add(c)
		running.Go(func() {
			for _, one := range c.kept {
				c.verify(one)
			}
		})
	}
	running.Wait()
	p.kill()
	p.inspect(clients)
	t.Logf("%d kills in %s: %d rotations and %d logouts acknowledged, %d requests, %d of them without answer, each restart took up to %s",
		kills, took.Round(time.Second), total.rotations, total.logouts, total.requests, total.unanswered, p.slowest.Round(time.Millisecond))
	if total.rotations < 10*kills || total.unanswered == 0 || total.logouts == 0 {
		t.Error("too little happened for the test to show anything")
	}
}

// killed is the program in a process of its own, on one data directory.
type killed struct {
	t       *testing.T
	config  string
	data    string
	base    atomic.Pointer[string]
	process *exec.Cmd
	said    bytes.Buffer
	exited  chan struct{}
	slowest time.Duration
}

func newKilled(t *testing.T) *killed {
	dir := t.TempDir()
	p := &killed{t: t, data: filepath.Join(dir, "data"), config: filepath.Join(dir, "counterfoil.yaml")}
	text := fmt.Sprintf("data: %s\npolicy:\n  grace: %s\n  late_budget: 3\n  sessions_per_user: 10000\n", p.data, crashGrace)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// offline opens the store while no program has it.
func (p *killed) offline(do func(context.Context, *server.Server)) {
	p.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	config, err := server.LoadConfig(p.config, func(string) (string, bool) { return "", false })
	if err != nil {
		p.t.Fatal(err)
	}
	config.LogTo = io.Discard
	s, err := server.OpenOffline(ctx, config)
	if err != nil {
		p.t.Fatal(err)
	}
	do(ctx, s)
	if err := s.Close(ctx); err != nil {
		p.t.Fatal(err)
	}
}

func (p *killed) provision() (all []*session.Tokens) {
	const userID = "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"
	p.offline(func(ctx context.Context, s *server.Server) {
		if err := s.Store().CreateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantCreated, Tenant: "diku"}); err != nil {
			p.t.Fatal(err)
		}
		user := directory.User{ID: userID, Tenant: "diku", Username: "reader", Active: true}
		if err := s.Sessions().CreateUser(ctx, user, directory.Grants{}, ""); err != nil {
			p.t.Fatal(err)
		}
		all = make([]*session.Tokens, crashClients*crashSessions)
		group := errgroup.Group{}
		group.SetLimit(64) // they share commits
		for i := range all {
			group.Go(func() (err error) {
				all[i], err = s.Sessions().SignFor(ctx, "diku", userID, "reader")
				return err
			})
		}
		if err := group.Wait(); err != nil {
			p.t.Fatal(err)
		}
	})
	return all
}

// start runs the program and returns when it serves.
func (p *killed) start() {
	p.t.Helper()
	started := time.Now()
	var public, admin string
	p.process = exec.Command(os.Args[0])
	p.process.Env = append(os.Environ(), serveVariable+"="+p.config)
	for name, address := range map[string]*string{"LISTEN": &public, "INTERNAL_LISTEN": new(string), "ADMIN_LISTEN": &admin} {
		*address = freePort(p.t)
		p.process.Env = append(p.process.Env, "COUNTERFOIL_"+name+"="+*address)
	}
	p.said.Reset()
	p.process.Stdout, p.process.Stderr = &p.said, &p.said
	if err := p.process.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan struct{}) { _ = process.Wait(); close(exited) }(p.process, p.exited)
	p.t.Cleanup(func() { p.kill() })
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		if answer, err := http.Get("http://" + admin + "/admin/health"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-tick.C:
		case <-p.exited:
			p.t.Fatalf("the program ended at its start:\n%s", p.said.String())
		case <-deadline:
			p.t.Fatal("the program does not serve after 30 s")
		}
	}
	p.slowest = max(p.slowest, time.Since(started))
	url := "http://" + public
	p.base.Store(&url)
}

// kill ends the program as a power switch does, as far as the process goes.
func (p *killed) kill() {
	_ = p.process.Process.Kill()
	<-p.exited
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// keptSession is what a client was told about one session.
type keptSession struct {
	id     token.SessionID
	access string
	// tokens are all refresh tokens that were acknowledged, the newest last.
	tokens  []string
	rotated time.Time
	ended   bool // acknowledged
}

func (k *keptSession) newest() string { return k.tokens[len(k.tokens)-1] }

// crashClient follows the protocol with several sessions, one request after
// the other, and remembers what was acknowledged.
type crashClient struct {
	program *killed
	dice    *rand.Rand
	kept    []*keptSession

	requests, unanswered, rotations, logouts int
}

func (c *crashClient) add(o *crashClient) {
	c.requests += o.requests
	c.unanswered += o.unanswered
	c.rotations += o.rotations
	c.logouts += o.logouts
}

func (c *crashClient) work(stop *atomic.Bool) {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := 0; !stop.Load(); i++ {
		one := c.kept[i%len(c.kept)]
		switch {
		case one.ended:
			c.refuses(one, one.tokens[c.dice.IntN(len(one.tokens))])
		case c.dice.IntN(50) == 0:
			c.logOut(one)
		case time.Since(one.rotated) > 2*crashGrace || c.dice.IntN(10) == 0:
			c.refresh(one)
		default:
			<-pace.C
		}
	}
}

// ask sends a request again and again until it is answered.
func (c *crashClient) ask(method, path string, body map[string]string, header ...string) (int, []byte) {
	text, _ := json.Marshal(body)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		c.requests++
		r, err := http.NewRequest(method, *c.program.base.Load()+path, bytes.NewReader(text))
		if err != nil {
			c.program.t.Error(err)
			break
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err == nil && answer.StatusCode != http.StatusServiceUnavailable {
				return answer.StatusCode, text
			}
		}
		c.unanswered++
		<-time.After(20 * time.Millisecond)
	}
	c.program.t.Error("no answer within a minute")
	return 0, nil
}

func (c *crashClient) refresh(one *keptSession) {
	var got struct{ AccessToken, RefreshToken string }
	status, text := c.ask(http.MethodPost, "/authn/refresh", map[string]string{"refreshToken": one.newest()})
	if status != http.StatusCreated || json.Unmarshal(text, &got) != nil {
		c.program.t.Errorf("session %s was lost: %d %s", one.id, status, text)
		one.ended = true
		return
	}
	one.access = got.AccessToken
	if got.RefreshToken != one.newest() {
		c.rotations++
		one.tokens, one.rotated = append(one.tokens, got.RefreshToken), time.Now()
	}
}

func (c *crashClient) logOut(one *keptSession) {
	if status, text := c.ask(http.MethodPost, "/authn/logout", map[string]string{"refreshToken": one.newest()}); status != http.StatusNoContent {
		c.program.t.Errorf("logout of session %s: %d %s", one.id, status, text)
		return
	}
	c.logouts++
	one.ended = true
}

func (c *crashClient) refuses(one *keptSession, raw string) {
	if status, _ := c.ask(http.MethodPost, "/authn/refresh", map[string]string{"refreshToken": raw}); status != http.StatusUnprocessableEntity {
		c.program.t.Errorf("session %s was logged out and answers %d", one.id, status)
	}
}

// verify looks at one session after the last restart.
func (c *crashClient) verify(one *keptSession) {
	status, _ := c.ask(http.MethodGet, "/authn/sessions/_self", nil, "X-Okapi-Token", one.access)
	switch {
	case !one.ended && status != http.StatusOK:
		c.program.t.Errorf("session %s: its access token is answered %d", one.id, status)
	case !one.ended:
		c.refresh(one)
	case status != http.StatusUnauthorized:
		c.program.t.Errorf("session %s was logged out, its access token is answered %d", one.id, status)
	default:
		for _, raw := range one.tokens {
			c.refuses(one, raw)
		}
	}
}

// inspect compares what clients were told with what is on the disk.
func (p *killed) inspect(clients []*crashClient) {
	p.offline(func(ctx context.Context, s *server.Server) {
		why := map[session.Reason]int{}
		for _, c := range clients {
			for _, one := range c.kept {
				row, err := s.Store().Session(ctx, one.id)
				if err != nil {
					p.t.Errorf("session %s: %v", one.id, err)
					continue
				}
				why[row.RevokedWhy]++
				if row.RevokedAt.IsZero() == one.ended || row.Gen < uint64(len(one.tokens)) || row.Struck() {
					p.t.Errorf("session %s: generation %d, ended %q, struck %v; its client knows of generation %d, ended %v",
						one.id, row.Gen, row.RevokedWhy, row.Struck(), len(one.tokens), one.ended)
				}
			}
		}
		delete(why, "")
		delete(why, session.LoggedOut)
		if len(why) > 0 {
			p.t.Errorf("sessions ended for other reasons than a logout: %v", why)
		}
	})
}
