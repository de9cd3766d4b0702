package main

import (
	"context"
	"errors"
	"fmt"
)

// folioExact makes every accepted refresh a committed rotation: there is no
// window in which an answer writes nothing.
const folioExact = "policy: {grace: 0s, access_ttl: 10m}\n"

// withGrace answers the second presentation of a token without a write.
const withGrace = "policy: {grace: 20s, access_ttl: 10m}\n"

// refreshing is a script that rotates its own session. Any answer but 201 ends
// the measurement.
func refreshing(address, token string, mayStay bool) client {
	body := func(token []byte) []byte { return fmt.Appendf(nil, `{"refreshToken":"%s"}`, token) }
	headers := "X-Okapi-Tenant: " + tenant + "\r\n"
	next := text("POST", "/authn/refresh", address, headers, body([]byte(token)))
	last := token
	return func(status int, answer []byte) ([]byte, error) {
		if answer == nil {
			return next, nil
		}
		got := field(answer, "refreshToken")
		if status != 201 || got == nil || (!mayStay && string(got) == last) {
			return nil, fmt.Errorf("refresh answered %d: %.200s", status, answer)
		}
		last = string(got)
		next = text("POST", "/authn/refresh", address, headers, body(got))
		return next, nil
	}
}

// retrying presents the same previous token again and again.
func retrying(address, token string) client {
	request := text("POST", "/authn/refresh", address, "X-Okapi-Tenant: "+tenant+"\r\n", fmt.Appendf(nil, `{"refreshToken":"%s"}`, token))
	return func(status int, answer []byte) ([]byte, error) {
		if answer != nil && status != 201 {
			return nil, fmt.Errorf("retry answered %d: %.200s", status, answer)
		}
		return request, nil
	}
}

func bareClients(address string, n int) []client {
	clients := make([]client, n)
	for i := range clients {
		clients[i] = refreshing(address, bareAnswer.RefreshToken, true)
	}
	return clients
}

// measureRefresh compares durable rotations with a bare server, pair by pair.
func (b *bench) measureRefresh(ctx context.Context) error {
	bare, err := startRole(ctx, "bare", "")
	if err != nil {
		return err
	}
	defer bare.stop()
	for _, sessions := range []int{32, 128, 1} {
		var base, ours []figures
		for range b.rounds {
			one, err := run(bare.address, bareClients(bare.address, sessions), b.warmUp, b.measure)
			if err != nil {
				return err
			}
			base = append(base, one)
			two, err := b.rotate(ctx, sessions)
			if err != nil {
				return err
			}
			ours = append(ours, two)
		}
		b.table.baseline(fmt.Sprintf("bare net/http POST, %d connections", sessions), base)
		b.table.against(fmt.Sprintf("refresh, %d sessions, each a committed rotation", sessions), ours, base)
	}
	for _, kind := range []string{"floor", "retry"} {
		var base, ours []figures
		for range b.rounds {
			one, err := run(bare.address, bareClients(bare.address, 32), b.warmUp, b.measure)
			if err != nil {
				return err
			}
			two, err := b.repeat(ctx, kind)
			if err != nil {
				return err
			}
			base, ours = append(base, one), append(ours, two)
		}
		b.table.against("refresh answered by "+kind+", 32 sessions, nothing written", ours, base)
	}
	return nil
}

// rotate measures rotations, each connection with a session of its own.
func (b *bench) rotate(ctx context.Context, sessions int) (figures, error) {
	h, err := b.newHome(ctx, "refresh")
	if err != nil {
		return figures{}, err
	}
	defer h.remove()
	tokens, err := fresh(ctx, h, sessions)
	if err != nil {
		return figures{}, err
	}
	p, err := startCounterfoil(ctx, b.binary, h, folioExact)
	if err != nil {
		return figures{}, err
	}
	got, err := run(p.address, roundRobin(p.address, tokens, sessions), b.warmUp, b.measure)
	return got, errors.Join(err, p.stop())
}

// roundRobin gives each connection its share of the sessions, one after the
// other, so that all of them are in use.
func roundRobin(address string, tokens []string, connections int) []client {
	clients := make([]client, connections)
	for i := range clients {
		var mine []client
		for j := i; j < len(tokens); j += connections {
			mine = append(mine, refreshing(address, tokens[j], false))
		}
		turn := -1
		clients[i] = func(status int, answer []byte) ([]byte, error) {
			if turn >= 0 && answer != nil {
				if _, err := mine[turn%len(mine)](status, answer); err != nil {
					return nil, err
				}
			}
			turn++
			return mine[turn%len(mine)](0, nil)
		}
	}
	return clients
}

// repeat measures answers that write nothing.
func (b *bench) repeat(ctx context.Context, kind string) (figures, error) {
	h, err := b.newHome(ctx, kind)
	if err != nil {
		return figures{}, err
	}
	defer h.remove()
	sh, err := openShelf(ctx, h, 32)
	if err != nil {
		return figures{}, err
	}
	rows, err := sh.sessions(ctx, 32)
	if err != nil {
		return figures{}, errors.Join(err, sh.close(ctx))
	}
	first := make([]string, len(rows))
	for i := range rows {
		first[i] = sh.refreshToken(&rows[i], 1)
	}
	if err := sh.close(ctx); err != nil {
		return figures{}, err
	}
	p, err := startCounterfoil(ctx, b.binary, h, withGrace)
	if err != nil {
		return figures{}, err
	}
	clients := make([]client, len(first))
	for i, token := range first {
		// One rotation, then the window is open: the new token is at the
		// floor, the old one is a retry.
		w, err := dial(p.address)
		if err != nil {
			return figures{}, errors.Join(err, p.stop())
		}
		request, _ := retrying(p.address, token)(0, nil)
		status, answer, err := w.do(request)
		if err != nil || status != 201 {
			return figures{}, errors.Join(fmt.Errorf("first refresh answered %d", status), err, p.stop())
		}
		if kind == "floor" {
			token = string(field(answer, "refreshToken"))
		}
		clients[i] = retrying(p.address, token)
		w.conn.Close()
	}
	got, err := run(p.address, clients, b.warmUp, b.measure)
	return got, errors.Join(err, p.stop())
}
