package main

import (
	"context"
	"errors"
	"fmt"
)

// oauthShare bounds what the second door costs: its refreshes ÷ the first one's.
const oauthShare = 0.9

// refreshingByOAuth is refreshing at the other door, with the same sessions.
func refreshingByOAuth(address, token string) client {
	request := func(token []byte) []byte {
		body := fmt.Appendf(nil, "grant_type=refresh_token&client_id=folio-api&refresh_token=%s", token)
		out := fmt.Appendf(nil, "POST /oauth2/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", address, len(body))
		return append(out, body...)
	}
	next, last := request([]byte(token)), token
	return func(status int, answer []byte) ([]byte, error) {
		if answer == nil {
			return next, nil
		}
		got := field(answer, "refresh_token")
		if status != 200 || got == nil || string(got) == last {
			return nil, fmt.Errorf("the token endpoint answered %d: %.200s", status, answer)
		}
		last, next = string(got), request(got)
		return next, nil
	}
}

// measureOAuth compares the two doors, pair by pair.
func (b *bench) measureOAuth(ctx context.Context) error {
	const sessions = 32
	var folio, oauth []figures
	for range b.rounds {
		one, err := b.rotate(ctx, sessions)
		if err != nil {
			return err
		}
		two, err := b.rotateByOAuth(ctx, sessions)
		if err != nil {
			return err
		}
		folio, oauth = append(folio, one), append(oauth, two)
	}
	b.table.baseline("refresh at /authn/refresh, 32 sessions", folio)
	b.table.against("refresh at /oauth2/token, 32 sessions", oauth, folio)
	b.table.bound("  its share", "%.3f", ratio(oauth, folio, rate), atLeast, oauthShare)
	return nil
}

func (b *bench) rotateByOAuth(ctx context.Context, sessions int) (figures, error) {
	h, err := b.newHome(ctx, "oauth")
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
	clients := make([]client, sessions)
	for i, token := range tokens {
		clients[i] = refreshingByOAuth(p.address, token)
	}
	got, err := run(p.address, clients, b.warmUp, b.measure)
	return got, errors.Join(err, p.stop())
}
