package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil/bench/peers"
)

// other is another server under the same load: chains of refresh tokens, each
// rotated by one connection at a time.
type other struct {
	adapter *peers.Adapter
	target  peers.Target
	chains  []*chain

	mu sync.Mutex
	// refusals counts what was not a success, by status and code. The server's
	// errors are its result, not ours, so they end nothing.
	refusals   map[string]int
	kept, dead int
}

// chain is one session at the other server.
type chain struct {
	token  string
	failed int // in a row
	dead   bool
}

// mayFail is how often in a row a chain is refused until it counts as dead.
const mayFail = 3

// peerOptions are the command line for another server.
type peerOptions struct {
	name, address, tokens, client, tenant *string
	headers                               []string
	connections                           *int
}

func peerFlags() *peerOptions {
	o := &peerOptions{
		name:        flag.String("target", "", "measure another server, of bench/peers/README.md, in place of Counterfoil"),
		address:     flag.String("url", "", "where it is: http://HOST:PORT, with a path perhaps"),
		tokens:      flag.String("tokens", "", "file with its refresh tokens, one a line; the newest are written back"),
		client:      flag.String("client", "", "file with its OAuth client, as id:secret, or id alone for a public one"),
		tenant:      flag.String("tenant", tenant, "FOLIO's tenant"),
		connections: flag.Int("connections", 32, "connections to it"),
	}
	flag.Func("header", "header to send along, such as 'apikey: …'; may be repeated", func(header string) error {
		o.headers = append(o.headers, header)
		return nil
	})
	return o
}

func (p *peerOptions) measure(ctx context.Context, b *bench) error {
	o, err := openOther(*p.name, *p.address, *p.tokens, *p.client, *p.tenant, p.headers)
	if err != nil {
		return err
	}
	return errors.Join(b.measureOther(ctx, o, *p.connections), o.save(*p.tokens))
}

// openOther reads the tokens, one a line, and the client, as id:secret.
func openOther(name, address, tokens, client, tenant string, headers []string) (*other, error) {
	adapter, err := peers.Find(name)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Port() == "" {
		return nil, errors.New("-url must be http://HOST:PORT, with a path perhaps")
	}
	o := &other{adapter: adapter, target: peers.Target{URL: u, Tenant: tenant, Headers: headers}}
	if client != "" {
		text, err := os.ReadFile(client)
		if err != nil {
			return nil, err
		}
		o.target.Client, o.target.Secret, _ = strings.Cut(strings.TrimSpace(string(text)), ":")
	}
	text, err := os.ReadFile(tokens)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			o.chains = append(o.chains, &chain{token: line})
		}
	}
	if len(o.chains) == 0 {
		return nil, errors.Join(errors.New("no tokens"), lines.Err())
	}
	return o, lines.Err()
}

// save writes the newest tokens back, so that the chains can be used again.
func (o *other) save(file string) error {
	var text strings.Builder
	for _, c := range o.chains {
		if !c.dead {
			text.WriteString(c.token + "\n")
		}
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

// measureOther compares another server with a bare one, as Counterfoil is.
func (b *bench) measureOther(ctx context.Context, o *other, connections int) error {
	bare, err := startRole(ctx, "bare", "")
	if err != nil {
		return err
	}
	defer bare.stop()
	connections = min(connections, len(o.chains))
	var base, theirs []figures
	o.refusals = make(map[string]int)
	for range b.rounds {
		one, err := run(bare.address, bareClients(bare.address, connections), b.warmUp, b.measure)
		if err != nil {
			return err
		}
		two, err := o.run(connections, closedLoop(b.warmUp, b.measure))
		if err != nil {
			return errors.Join(err, o.report(b.table))
		}
		base, theirs = append(base, one), append(theirs, two)
	}
	b.table.baseline(fmt.Sprintf("bare net/http POST, %d connections", connections), base)
	b.table.against(fmt.Sprintf("refresh at %s, %d chains", o.adapter.Name, len(o.chains)), theirs, base)
	return o.report(b.table)
}

func (o *other) report(t *table) error {
	t.note("  answers with the token that was sent", fmt.Sprint(o.kept))
	for _, what := range slices.Sorted(maps.Keys(o.refusals)) {
		t.note("  refused: "+what, fmt.Sprint(o.refusals[what]))
	}
	t.note(fmt.Sprintf("  chains refused %d times in a row, and given up", mayFail), fmt.Sprint(o.dead))
	return nil
}

// run drives the chains that live. Only successes are in the figures.
func (o *other) run(connections int, s *schedule) (figures, error) {
	return drive(connections, s, func(i int) (task, error) {
		w, err := dial(o.target.URL.Host)
		if err != nil {
			return task{}, err
		}
		w.wantCookies = true
		var mine []*chain
		for j := i; j < len(o.chains); j += connections {
			mine = append(mine, o.chains[j])
		}
		turn := -1
		var request []byte
		return task{
			prepare: func() error {
				for range mine {
					turn = (turn + 1) % len(mine)
					if c := mine[turn]; !c.dead {
						request = o.adapter.Request(&o.target, c.token)
						return nil
					}
				}
				return errOver
			},
			act: func() error {
				status, body, err := w.do(request)
				if err != nil {
					err = fmt.Errorf("connection: %w", err)
					w.again(o.target.URL.Host)
				}
				return o.take(mine[turn], &peers.Answer{Status: status, Body: body, Cookies: w.cookies}, err)
			},
			done: func() { _ = w.conn.Close() },
		}, nil
	})
}

// take moves a chain on. What is refused is presented again, as a client would.
func (o *other) take(c *chain, a *peers.Answer, err error) error {
	var next string
	if err == nil {
		next, err = o.adapter.Next(a)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		if next == c.token {
			o.kept++
		}
		c.token, c.failed = next, 0
		return nil
	}
	o.refusals[err.Error()]++
	if c.failed++; c.failed == mayFail {
		c.dead = true
		o.dead++
	}
	return errRefused
}
