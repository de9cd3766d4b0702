package gateway

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/counterfoil/counterfoil/internal/session"
)

// metrics are what the gateway counts. Every label has few values that no
// client chooses: modules are those registered, without their versions,
// methods those that can be routed.
type metrics struct {
	requests *prometheus.CounterVec
	waited   *prometheus.HistogramVec
	refusals *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_gateway_requests_total", Help: "Requests that reached a module, by the status that the client got.",
		}, []string{"module", "method", "status"}),
		waited: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "counterfoil_gateway_upstream_seconds", Help: "How long a module took to begin its answer.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"module"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_gateway_refusals_total", Help: "Requests that the gateway refused before any module, by reason.",
		}, []string{"reason"}),
	}
	if registerer != nil {
		registerer.MustRegister(m.requests, m.waited, m.refusals)
	}
	return m
}

// of returns the counters of one product.
func (m *metrics) of(product string) *productMetrics {
	return &productMetrics{requests: m.requests.MustCurryWith(prometheus.Labels{"module": product}), waited: m.waited.WithLabelValues(product)}
}

var statusClasses = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// productMetrics looks each counter up once, because looking it up costs more
// than all else that is counted of a request.
type productMetrics struct {
	requests *prometheus.CounterVec
	counters [len(allowedMethods)][len(statusClasses)]atomic.Pointer[prometheus.Counter]
	waited   prometheus.Observer
}

// served counts a request that reached a module, by one of allowedMethods.
func (p *productMetrics) served(method string, status int, took time.Duration) {
	class := status / 100
	if class >= len(statusClasses) {
		class = 0
	}
	known := &p.counters[slices.Index(allowedMethods[:], method)][class]
	counter := known.Load()
	if counter == nil {
		c := p.requests.WithLabelValues(method, statusClasses[class])
		counter = &c
		known.Store(counter)
	}
	(*counter).Inc()
	p.waited.Observe(took.Seconds())
}

func (m *metrics) refused(status int, err error) {
	reason := "error"
	var unproven *Unproven
	switch {
	case errors.As(err, &unproven):
		reason = "unproven"
	case errors.Is(err, session.ErrTokenExpired):
		reason = "token_expired"
	case errors.Is(err, session.ErrTokenInvalid):
		reason = "token_invalid"
	case errors.Is(err, session.ErrKeyInvalid):
		reason = "key_invalid"
	default:
		switch status {
		case http.StatusBadRequest:
			reason = "malformed"
		case http.StatusUnauthorized:
			reason = "token_missing"
		case http.StatusForbidden:
			reason = "forbidden"
		case http.StatusNotFound:
			reason = "not_found"
		case http.StatusMethodNotAllowed:
			reason = "method"
		case http.StatusTooManyRequests:
			reason = "limited"
		case http.StatusServiceUnavailable:
			reason = "unavailable"
		case statusGone:
			reason = "client_gone"
		}
	}
	m.refusals.WithLabelValues(reason).Inc()
}
