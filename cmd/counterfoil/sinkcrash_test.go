package main

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// receiver notes the records that a sink brings, in the order in which they come.
type receiver struct {
	mu      sync.Mutex
	records []audit.Record
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var body struct{ Counterfoil audit.Record }
	text, err := io.ReadAll(request.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable) // the program died while it sent
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, body.Counterfoil)
}

func (r *receiver) all() []audit.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.records)
}

// Threat (T-49): a program that dies between the commit of an event and its
// delivery loses the event, or brings the log out of order.
func TestT49KilledProgramOwesItsSinksNothing(t *testing.T) {
	kills := 8
	if os.Getenv("COUNTERFOIL_LONG") != "" {
		kills = 100
	}
	hook := &receiver{}
	web := httptest.NewServer(hook)
	defer web.Close()
	p := newKilled(t)
	file, secret := filepath.Join(t.TempDir(), "audit.jsonl"), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdefghijklmnopqrstuv"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := os.OpenFile(p.config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = io.WriteString(config, "audit:\n  seal_every: 100ms\n  file: {path: "+file+"}\n  webhook: {url: "+web.URL+", secret_file: "+secret+"}\n")
	}
	if err = errors.Join(err, config.Close()); err != nil {
		t.Fatal(err)
	}
	clients := make([]*crashClient, crashClients)
	for i, tokens := range p.provision() {
		if clients[i%crashClients] == nil {
			clients[i%crashClients] = &crashClient{program: p, dice: rand.New(rand.NewPCG(49, uint64(i)))}
		}
		c := clients[i%crashClients]
		c.kept = append(c.kept, &keptSession{id: tokens.Session, access: tokens.Access, tokens: []string{tokens.Refresh}})
	}
	p.start()
	var stop atomic.Bool
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() {
			for _, one := range c.kept {
				if stop.Load() {
					return
				}
				c.logOut(one)
				<-time.After(15 * time.Millisecond)
			}
		})
	}
	dice := rand.New(rand.NewPCG(49, 49))
	for range kills {
		<-time.After(100*time.Millisecond + time.Duration(dice.Int64N(int64(300*time.Millisecond))))
		p.kill()
		p.start()
	}
	stop.Store(true)
	running.Wait()
	ended := map[string]bool{}
	for _, c := range clients {
		for _, one := range c.kept {
			if one.ended {
				ended[one.id.String()] = true
			}
		}
	}
	if len(ended) < 10*kills {
		t.Fatalf("%d logouts: too little happened for the test to show anything", len(ended))
	}
	again := 0
	for name, read := range map[string]func() []audit.Record{
		"webhook": hook.all,
		"file": func() (list []audit.Record) {
			text, _ := os.ReadFile(file)
			for line := range strings.Lines(string(text)) {
				if r, err := audit.ParseRecord([]byte(line)); err == nil {
					list = append(list, r)
				}
			}
			return list
		},
	} {
		list := awaitRecords(t, name, read, ended)
		again += inOrder(t, name, list)
	}
	t.Logf("%d kills, %d logouts, %d records came more than once", kills, len(ended), again)
	p.kill()
	if got := play(t, "", "audit", "verify", "--config", p.config); got.status != 0 {
		t.Errorf("audit verify: %+v", got)
	}
}

// awaitRecords waits until the logout of each session has come.
func awaitRecords(t *testing.T, name string, read func() []audit.Record, ended map[string]bool) []audit.Record {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(2 * time.Minute); ; {
		list, missing := read(), len(ended)
		seen := map[string]bool{}
		for _, r := range list {
			if r.Kind == audit.Logout && ended[r.Session] && !seen[r.Session] {
				seen[r.Session] = true
				missing--
			}
		}
		if missing == 0 {
			return list
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %d of %d logouts never came", name, missing, len(ended))
		}
	}
}

// inOrder is that records come one after the other, none left out; after a kill
// some come again. It returns how many.
func inOrder(t *testing.T, name string, list []audit.Record) (again int) {
	t.Helper()
	newest := list[0].N - 1
	for _, r := range list {
		switch {
		case r.N <= newest:
			again++
		case r.N != newest+1:
			t.Errorf("%s: record %d comes after %d", name, r.N, newest)
		}
		newest = max(newest, r.N)
	}
	return again
}
