package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// reading is a client of a proxied module.
func reading(address, token string) client {
	request := text("GET", "/orders", address, "X-Okapi-Tenant: "+tenant+"\r\nX-Okapi-Token: "+token+"\r\n", nil)
	return func(status int, _ []byte) ([]byte, error) {
		if status != 0 && status != 200 {
			return nil, fmt.Errorf("module call answered %d", status)
		}
		return request, nil
	}
}

// measureGateway compares the gateway with a reverse proxy that decides
// nothing, to the same module, with the same requests.
func (b *bench) measureGateway(ctx context.Context) error {
	upstream, err := startRole(ctx, "upstream", "")
	if err != nil {
		return err
	}
	defer upstream.stop()
	proxy, err := startRole(ctx, "proxy", "http://"+upstream.address)
	if err != nil {
		return err
	}
	defer proxy.stop()
	h, err := b.newHome(ctx, "gateway")
	if err != nil {
		return err
	}
	defer h.remove()
	tokens, err := routed(ctx, h, upstream.address)
	if err != nil {
		return err
	}
	var direct, base, warm, cold []figures
	for range b.rounds {
		for _, target := range []struct {
			into    *[]figures
			address string
			config  string
		}{{&direct, upstream.address, ""}, {&base, proxy.address, ""}, {&warm, "", "policy: {access_ttl: 2h}\n"}, {&cold, "", "policy: {access_ttl: 2h}\nverified_tokens: -1\n"}} {
			address := target.address
			var p *process
			if address == "" {
				if p, err = startCounterfoil(ctx, b.binary, h, target.config); err != nil {
					return err
				}
				address = p.address
			}
			clients := make([]client, len(tokens))
			for i, token := range tokens {
				clients[i] = reading(address, token)
			}
			got, err := run(address, clients, b.warmUp, b.measure)
			if p != nil {
				err = errors.Join(err, p.stop())
			}
			if err != nil {
				return err
			}
			*target.into = append(*target.into, got)
		}
	}
	b.table.baseline("module without a proxy, 32 connections", direct)
	b.table.baseline("tuned httputil.ReverseProxy, 32 connections", base)
	b.table.against("gateway, token in the cache", warm, base)
	b.table.against("gateway, every signature verified anew", cold, base)
	return nil
}

func routed(ctx context.Context, h home, upstream string) ([]string, error) {
	sh, err := openShelf(ctx, h, 32)
	if err != nil {
		return nil, err
	}
	if err := sh.route(ctx, upstream); err != nil {
		return nil, errors.Join(err, sh.close(ctx))
	}
	rows, err := sh.sessions(ctx, 32)
	if err != nil {
		return nil, errors.Join(err, sh.close(ctx))
	}
	tokens := make([]string, len(rows))
	for i := range rows {
		if tokens[i], err = sh.accessToken(&rows[i], 2*time.Hour); err != nil {
			return nil, errors.Join(err, sh.close(ctx))
		}
	}
	return tokens, sh.close(ctx)
}
