package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/token"
)

// The bounds of what a request costs behind Okapi.
const (
	filterShare = 0.6  // of the requests of a handler that decides nothing
	withoutMint = 5.0  // µs: the route, the token from memory, the permissions
	withModules = 30.0 // µs: the same and a module's token
	decisions   = 20_000
)

// asking is an Okapi that asks the filter about a call to the bench's module.
func asking(address, token string) client {
	request := text("GET", "/orders?query=x", address, "X-Okapi-Tenant: "+tenant+"\r\nX-Okapi-Token: "+token+"\r\n"+
		"X-Okapi-Url: http://okapi:9130\r\nX-Okapi-Request-Id: 821257/orders\r\nX-Okapi-request-ip: 10.1.2.3\r\n"+
		"X-Okapi-request-timestamp: 1788000000000\r\nX-Okapi-request-method: GET\r\nX-Okapi-Filter: auth /*\r\n"+
		"X-Okapi-Match-Path-Pattern: /*\r\nX-Okapi-Permissions-Required: orders.collection.get\r\n"+
		"X-Okapi-Module-Permissions: {\""+module+"\":[\"users.item.get\"]}\r\nAccept: application/json\r\n", nil)
	return func(status int, _ []byte) ([]byte, error) {
		if status != 0 && status != 202 {
			return nil, fmt.Errorf("the filter answered %d", status)
		}
		return request, nil
	}
}

// measureOkapi compares the auth filter behind Okapi with a handler that answers
// the same headers and decides nothing, and measures what a decision costs
// among as many modules as FOLIO has.
func (b *bench) measureOkapi(ctx context.Context) error {
	bare, err := startRole(ctx, "filter", "")
	if err != nil {
		return err
	}
	defer bare.stop()
	h, err := b.newHome(ctx, "okapi")
	if err != nil {
		return err
	}
	defer h.remove()
	tokens, err := routed(ctx, h, bare.address)
	if err != nil {
		return err
	}
	var base, filter []figures
	for range b.rounds {
		one, err := run(bare.address, filterClients(bare.address, tokens), b.warmUp, b.measure)
		if err != nil {
			return err
		}
		p, err := startCounterfoil(ctx, b.binary, h, "mode: okapi-module\npolicy: {access_ttl: 2h}\n")
		if err != nil {
			return err
		}
		two, err := run(p.address, filterClients(p.address, tokens), b.warmUp, b.measure)
		if err := errors.Join(err, p.stop()); err != nil {
			return err
		}
		base, filter = append(base, one), append(filter, two)
	}
	b.table.baseline("bare net/http 202 with such headers, 32 connections", base)
	b.table.against("auth filter behind Okapi, a module's token in each answer", filter, base)
	b.table.bound("  its share of the bare one's requests", "%.3f", ratio(filter, base, rate), atLeast, filterShare)
	return b.measureDecision(ctx, h)
}

func filterClients(address string, tokens []string) []client {
	clients := make([]client, len(tokens))
	for i, token := range tokens {
		clients[i] = asking(address, token)
	}
	return clients
}

// measureDecision times, in this process, what the gateway does for a call
// before it proxies.
func (b *bench) measureDecision(ctx context.Context, h home) error {
	sh, err := openShelf(ctx, h, 1)
	if err != nil {
		return err
	}
	err = b.decide(ctx, sh)
	return errors.Join(err, sh.close(ctx))
}

func (b *bench) decide(ctx context.Context, sh *shelf) error {
	descriptors, routes := manyModules()
	table, err := gateway.NewTable(tenant, descriptors)
	if err != nil {
		return err
	}
	rows, err := sh.sessions(ctx, 1)
	if err != nil {
		return err
	}
	raw, err := sh.accessToken(&rows[0], 5*time.Minute)
	if err != nil {
		return err
	}
	g := &gateway.Gateway{Sessions: sh.server.Sessions(), Directory: sh.server.People(), Tokens: sh.server.Tokens(), Now: time.Now}
	once := func(path string, mint bool) error {
		route, _ := table.Match("GET", path, "")
		if route == nil {
			return fmt.Errorf("no route for %s", path)
		}
		caller, err := g.Sessions.Check(ctx, raw, token.KindAccess)
		if err != nil {
			return err
		}
		facts := gateway.Facts{
			Tenant: tenant, Caller: &caller, Required: route.Required(path, true), Desired: route.Handler.PermissionsDesired, RequestID: "821257/x",
		}
		if _, err := g.Authorize(ctx, &facts); err != nil || !mint {
			return err
		}
		_, err = g.Tokens.Mint(g.ModuleClaims(&facts, route.ModuleID, route.Handler.ModulePermissions))
		return err
	}
	for _, mint := range []bool{false, true} {
		var best []float64
		for range b.rounds {
			began := time.Now()
			for i := range decisions {
				if err := once(routes[i%len(routes)], mint); err != nil {
					return err
				}
			}
			best = append(best, float64(time.Since(began).Microseconds())/decisions)
		}
		name, limit := "decision among 100 modules with 1,405 routes, µs", withoutMint
		if mint {
			name, limit = "  and a module's token, µs", withModules
		}
		b.table.bound(name, "%.2f", middle(best), atMost, limit)
	}
	return nil
}
