package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	benchConnections = 32
	benchBody        = 1024 // bytes of an answer
	ordersDescriptor = `{"id":"mod-orders-1.0.0","provides":[{"id":"orders","version":"1.0","handlers":[
		{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["echo.get"],"modulePermissions":["echo.get","users.item.get"]}]}]}`
)

// orders is a module that costs next to nothing.
func orders(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(benchBody))
	_, _ = w.Write(make([]byte, benchBody))
}

// lane is a way to the module, with the request that goes it.
type lane struct {
	address string
	request []byte
}

// lanes are the standard library's proxy, tuned, and gateways with and without
// the cache of verified tokens, all to the same kind of module.
func lanes(b *testing.B) map[string]lane {
	b.Helper()
	ways := make(map[string]lane)
	add := func(name, base, token string) {
		request := "GET /orders HTTP/1.1\r\nHost: gw\r\nUser-Agent: bench\r\nX-Okapi-Tenant: diku\r\nX-Okapi-Token: " + token + "\r\n\r\n"
		ways[name] = lane{strings.TrimPrefix(base, "http://"), []byte(request)}
	}
	warm := newWorld(b, nil)
	warm.module(ordersDescriptor, orders)
	add("gateway-warm", warm.public, warm.access())
	cold := newWorld(b, func(_ *gateway.Gateway, s *session.Service) { s.VerifiedTokens = -1 })
	cold.module(ordersDescriptor, orders)
	add("gateway-cold", cold.public, cold.access())
	target, err := url.Parse(warm.listen(http.HandlerFunc(orders)))
	warm.must(err)
	add("bare", warm.listen(&httputil.ReverseProxy{
		Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetURL(target) },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &buffers{},
	}), warm.access())
	return ways
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }

// drive sends n requests over connections that are open already, as fast as
// the answers come, and says how long it took.
func drive(b *testing.B, way lane, n int) time.Duration {
	b.Helper()
	conns := make([]net.Conn, benchConnections)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", way.address); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
	}
	started := time.Now()
	var wg sync.WaitGroup
	for i, conn := range conns {
		share := n/benchConnections + min(1, max(0, n%benchConnections-i))
		wg.Go(func() {
			from := bufio.NewReader(conn)
			for range share {
				if err := ask(conn, from, way.request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(started)
}

// ask does as little as can be done by a client.
func ask(conn net.Conn, from *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	line, err := from.ReadSlice('\n')
	if err != nil || !strings.HasPrefix(string(line), "HTTP/1.1 200 ") {
		return fmt.Errorf("answer %q: %w", line, err)
	}
	for len(line) > 2 {
		if line, err = from.ReadSlice('\n'); err != nil {
			return err
		}
	}
	_, err = io.CopyN(io.Discard, from, benchBody)
	return err
}

func BenchmarkProxy(b *testing.B) {
	ways := lanes(b)
	for _, name := range []string{"bare", "gateway-warm", "gateway-cold"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			drive(b, ways[name], b.N)
		})
	}
}

// BenchmarkProxyRatio alternates between the ways and reports the median of
// the ratios of neighbours, which a machine that does other things besides
// disturbs far less than two runs one after the other. Run it with
// -benchtime=40x or more.
func BenchmarkProxyRatio(b *testing.B) {
	ways := lanes(b)
	const batch = 64 * benchConnections
	var warm, cold []float64
	for b.Loop() {
		before := drive(b, ways["bare"], batch)
		w := drive(b, ways["gateway-warm"], batch)
		c := drive(b, ways["gateway-cold"], batch)
		bare := (before + drive(b, ways["bare"], batch)) / 2
		warm = append(warm, bare.Seconds()/w.Seconds())
		cold = append(cold, bare.Seconds()/c.Seconds())
	}
	slices.Sort(warm)
	slices.Sort(cold)
	b.ReportMetric(warm[len(warm)/2], "warm/bare")
	b.ReportMetric(cold[len(cold)/2], "cold/bare")
}

// BenchmarkKeyRatio is what a call with an API key costs beside one with an
// access token, both warm, in the same way. Below 1 the key is cheaper.
func BenchmarkKeyRatio(b *testing.B) {
	w := newWorld(b, nil)
	w.module(ordersDescriptor, orders)
	_, narrow := w.key(apikey.Scope{Routes: []apikey.Route{{Method: "GET", Path: "/users/{id}"}, {Method: "GET", Path: "/orders"}}, Permissions: []string{"echo.get"}})
	way := func(header string) lane {
		return lane{strings.TrimPrefix(w.public, "http://"), []byte("GET /orders HTTP/1.1\r\nHost: gw\r\nUser-Agent: bench\r\nX-Okapi-Tenant: diku\r\n" + header + "\r\n\r\n")}
	}
	byToken := way("X-Okapi-Token: " + w.access())
	ways := map[string]lane{"own": way("Authorization: " + narrow)}
	_, edge := w.imported(everything)
	ways["edge"] = way("Authorization: apikey " + edge)
	const batch = 64 * benchConnections
	ratios := make(map[string][]float64)
	for b.Loop() {
		before := drive(b, byToken, batch)
		own, edge := drive(b, ways["own"], batch), drive(b, ways["edge"], batch)
		token := (before + drive(b, byToken, batch)) / 2
		ratios["own"] = append(ratios["own"], own.Seconds()/token.Seconds())
		ratios["edge"] = append(ratios["edge"], edge.Seconds()/token.Seconds())
	}
	for name, all := range ratios {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name+"/token")
	}
}
