package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	ordersID = "mod-sample-orders-1.0.0"
	chainID  = "mod-sample-chain-1.0.0"
)

// ordersDescriptor and chainDescriptor are in Okapi's format.
const ordersDescriptor = `{
  "id": "` + ordersID + `",
  "name": "Sample orders",
  "provides": [{"id": "sample-orders", "version": "1.0", "handlers": [
    {"methods": ["GET"], "pathPattern": "/orders", "permissionsRequired": ["orders.collection.get"]},
    {"methods": ["POST"], "pathPattern": "/orders", "permissionsRequired": ["orders.item.post"]},
    {"methods": ["DELETE"], "pathPattern": "/orders", "permissionsRequired": ["orders.collection.delete"]},
    {"methods": ["GET"], "pathPattern": "/echo", "permissionsRequired": ["echo.get"]}
  ]}],
  "permissionSets": [
    {"permissionName": "orders.collection.get", "displayName": "list orders"},
    {"permissionName": "orders.item.post", "displayName": "place an order"},
    {"permissionName": "orders.collection.delete", "displayName": "delete all orders"},
    {"permissionName": "echo.get", "displayName": "see the headers of a request"},
    {"permissionName": "orders.all", "displayName": "all of sample orders",
     "subPermissions": ["orders.collection.get", "orders.item.post", "echo.get"]}
  ]
}`

const chainDescriptor = `{
  "id": "` + chainID + `",
  "name": "Sample chain",
  "provides": [{"id": "sample-chain", "version": "1.0", "handlers": [
    {"methods": ["GET"], "pathPattern": "/chain", "permissionsRequired": ["chain.get"],
     "modulePermissions": ["chain.get", "echo.get"]}
  ]}],
  "requires": [{"id": "sample-orders", "version": "1.0"}],
  "permissionSets": [
    {"permissionName": "chain.get", "displayName": "start a chain of calls"}
  ]
}`

// maxOrders bounds what the sample remembers.
const maxOrders = 100_000

// orders is mod-sample-orders: it counts what it got, so that a lost or
// doubled write shows.
type orders struct {
	mu    sync.Mutex
	count map[string]int
}

func newOrders() http.Handler {
	o := &orders{count: make(map[string]int)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders", o.list)
	mux.HandleFunc("POST /orders", o.place)
	mux.HandleFunc("DELETE /orders", o.clear)
	mux.HandleFunc("GET /echo", echo)
	return mux
}

func (o *orders) list(w http.ResponseWriter, _ *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"orders": o.count, "totalRecords": len(o.count)})
}

func (o *orders) place(w http.ResponseWriter, r *http.Request) {
	var order struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&order); err != nil || order.ID == "" || len(order.ID) > 100 {
		answer(w, http.StatusBadRequest, map[string]any{"message": "send an order as {\"id\":\"…\"}"})
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.count[order.ID]; !known && len(o.count) >= maxOrders {
		answer(w, http.StatusInsufficientStorage, map[string]any{"message": "this sample is full, delete its orders"})
		return
	}
	o.count[order.ID]++
	answer(w, http.StatusCreated, map[string]any{"id": order.ID, "count": o.count[order.ID]})
}

func (o *orders) clear(w http.ResponseWriter, _ *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.count)
	w.WriteHeader(http.StatusNoContent)
}

// echo answers the request's headers, names in lower case.
func echo(w http.ResponseWriter, r *http.Request) {
	headers := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	answer(w, http.StatusOK, headers)
}

// chain is mod-sample-chain: it calls itself through the gateway, and at the
// end another module, as real modules do.
type chain struct{ client *http.Client }

const (
	maxDepth = 20
	maxDelay = 10 * time.Second
)

func (c *chain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	depth, delay, err := chainQuery(r)
	if err != nil || r.URL.Path != "/chain" {
		answer(w, http.StatusBadRequest, map[string]any{"message": fmt.Sprintf("use /chain?depth=0…%d&delay=MS, %d at most", maxDepth, maxDelay.Milliseconds())})
		return
	}
	wait := time.NewTimer(delay)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-r.Context().Done():
		return
	}
	next := "/echo"
	if depth > 0 {
		next = fmt.Sprintf("/chain?depth=%d&delay=%d", depth-1, delay.Milliseconds())
	}
	call, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.Header.Get("X-Okapi-Url")+next, nil)
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]any{"message": "X-Okapi-Url is not a URL"})
		return
	}
	for _, name := range []string{"X-Okapi-Tenant", "X-Okapi-Token", "X-Okapi-Request-Id"} {
		call.Header.Set(name, r.Header.Get(name))
	}
	got, err := c.client.Do(call)
	if err != nil {
		answer(w, http.StatusBadGateway, map[string]any{"message": "nested call failed"})
		return
	}
	defer got.Body.Close()
	w.Header().Set("Content-Type", got.Header.Get("Content-Type"))
	w.WriteHeader(got.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(got.Body, 1<<20))
}

func chainQuery(r *http.Request) (depth int, delay time.Duration, err error) {
	number := func(name string) (n int) {
		text := r.URL.Query().Get(name)
		if text == "" || err != nil {
			return 0
		}
		n, err = strconv.Atoi(text)
		return n
	}
	depth, delay = number("depth"), time.Duration(number("delay"))*time.Millisecond
	if err == nil && (depth < 0 || depth > maxDepth || delay < 0 || delay > maxDelay) {
		err = fmt.Errorf("depth or delay out of range")
	}
	return depth, delay, err
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
