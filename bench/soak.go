package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/directory"
)

const (
	// growth bounds what a long load may add: the last quarter's median ÷ the
	// second's. The first is warm-up.
	growth = 1.1
	// lookEvery is how often the console is asked and the metrics are scraped.
	lookEvery = 5 * time.Second

	soakPassword = "correct horse battery staple"
)

// look is what one look saw.
type look struct{ memory, goroutines float64 }

// measureSoak loads the program at half of its rate for as long as a round
// lasts, with a console open and metrics scraped, and looks whether anything
// grows. `make load` has it last ten minutes.
func (b *bench) measureSoak(ctx context.Context) error {
	const connections = 32
	h, err := b.newHome(ctx, "soak")
	if err != nil {
		return err
	}
	defer h.remove()
	sh, err := openShelf(ctx, h, 1000)
	if err != nil {
		return err
	}
	err = errors.Join(soakOperator(ctx, sh), sh.close(ctx))
	if err != nil {
		return err
	}
	tokens, err := fresh(ctx, h, 10*connections)
	if err != nil {
		return err
	}
	p, err := startCounterfoil(ctx, b.binary, h, folioExact+"cookies: {insecure: true}\n")
	if err != nil {
		return err
	}
	clients := roundRobin(p.address, tokens, connections)
	most, err := run(p.address, clients, time.Second, 5*time.Second)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	desk, err := openDesk(p)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	var looks []look
	watching := make(chan error, 1)
	over := make(chan struct{})
	go func() { watching <- desk.watch(over, &looks) }()
	got, err := runOn(p.address, clients, openLoop(most.perSecond/2, 0, b.measure))
	close(over)
	if err := errors.Join(err, <-watching, p.stop()); err != nil {
		return err
	}
	if len(looks) < 8 {
		return fmt.Errorf("only %d looks, measure for longer", len(looks))
	}
	b.table.baseline(fmt.Sprintf("refresh at half of the rate for %s, console open", b.measure), []figures{got})
	quarter := len(looks) / 4
	for name, of := range map[string]func(look) float64{
		"memory": func(l look) float64 { return l.memory }, "goroutines": func(l look) float64 { return l.goroutines },
	} {
		second, last := medianOf(looks[quarter:2*quarter], of), medianOf(looks[3*quarter:], of)
		b.table.note("  "+name+", second quarter and last", fmt.Sprintf("%.0f, %.0f", second, last))
		b.table.bound("  ÷", "%.2f", last/second, atMost, growth)
	}
	return nil
}

func medianOf(looks []look, of func(look) float64) float64 {
	values := make([]float64, len(looks))
	for i, l := range looks {
		values[i] = of(l)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// soakOperator is who has the console open.
func soakOperator(ctx context.Context, sh *shelf) error {
	u := directory.User{ID: uuid.NewString(), Tenant: directory.SuperTenant, Username: "operator", Active: true}
	return sh.server.Sessions().CreateUser(ctx, u, directory.Grants{Permissions: []string{"counterfoil.console.get"}}, soakPassword)
}

// benchDesk is a browser at the console.
type benchDesk struct {
	process *process
	client  *http.Client
}

func openDesk(p *process) (*benchDesk, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	d := &benchDesk{p, &http.Client{Jar: jar, Timeout: 20 * time.Second}}
	answer, err := d.client.PostForm("http://"+p.admin+"/console/login", url.Values{"username": {"operator"}, "password": {soakPassword}})
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close()
	if answer.Request.URL.Path != "/console/" {
		return nil, fmt.Errorf("the console answered %d", answer.StatusCode)
	}
	return d, nil
}

func (d *benchDesk) get(path string) (string, error) {
	answer, err := d.client.Get("http://" + d.process.admin + path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d", path, answer.StatusCode)
	}
	return string(text), err
}

// watch looks until it is over: at the overview as an open page does, now and
// then at a page that somebody opens, and at the metrics.
func (d *benchDesk) watch(over <-chan struct{}, looks *[]look) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-over:
			return nil
		case <-tick.C:
		}
		pages := []string{"/console/live"}
		if n%12 == 0 {
			pages = []string{"/console/", "/console/sessions", "/console/audit"}
		}
		for _, page := range pages {
			if _, err := d.get(page); err != nil {
				return err
			}
		}
		metrics, err := d.get("/metrics")
		if err != nil {
			return err
		}
		memory, err := d.process.memory()
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(metrics, "\ngo_goroutines ")
		line, _, _ := strings.Cut(rest, "\n")
		goroutines, err := strconv.ParseFloat(line, 64)
		if err != nil {
			return fmt.Errorf("go_goroutines: %w", err)
		}
		*looks = append(*looks, look{float64(memory) / (1 << 20), goroutines})
	}
}
