package server

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// metrics are the program's own numbers. Every label comes from a small fixed
// set: never a user, a session, a path or an address.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refresh  *prometheus.CounterVec
	logins   *prometheus.CounterVec
	ended    *prometheus.CounterVec
	cache    *prometheus.CounterVec
	flushed  *prometheus.GaugeVec
	failed   prometheus.Counter
	old      *prometheus.CounterVec

	turnedBack prometheus.Counter
	settings   *prometheus.GaugeVec

	questions *prometheus.CounterVec
	answering *prometheus.HistogramVec
	stale     prometheus.Counter

	// hit, miss and series are the children of the vectors above, so that no
	// request looks them up by strings.
	hit, miss prometheus.Counter
	series    sync.Map // of requestLabels to *requestSeries
}

var _ session.Observer = (*metrics)(nil)

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_http_requests_total", Help: "Requests by listener, route and status class.",
		}, []string{"listener", "route", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "counterfoil_http_request_duration_seconds", Help: "Time to answer by listener and route.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"listener", "route"}),
		refresh: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_refresh_total", Help: "Presented refresh tokens by what the rule decided.",
		}, []string{"outcome"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_login_total", Help: "Logins by result.",
		}, []string{"result"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_sessions_ended_total", Help: "Sessions that ended by reason.",
		}, []string{"reason"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_token_cache_total", Help: "Look-ups of verified tokens.",
		}, []string{"result"}),
		flushed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "counterfoil_seen_flush_timestamp_seconds", Help: "When seen generations were last stored.",
		}, nil),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "counterfoil_seen_flush_errors_total", Help: "Flushes of seen generations that failed.",
		}),
		old: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_mod_authtoken_tokens_total", Help: "Tokens of mod-authtoken that were presented, or issued, by kind and outcome.",
		}, []string{"kind", "outcome"}),
		turnedBack: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "counterfoil_store_turned_back_total", Help: "How often this node ended all sessions because the database was restored or lost commits.",
		}),
		settings: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "counterfoil_database_setting_safe", Help: "1 if a setting of the database lets nothing be lost that was acknowledged, as seen at the start.",
		}, []string{"setting"}),
		questions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_directory_questions_total", Help: "Questions to FOLIO about users and permissions by outcome; skipped are those that were not asked because FOLIO did not answer lately.",
		}, []string{"question", "outcome"}),
		answering: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "counterfoil_directory_answer_seconds", Help: "Time in which FOLIO answered.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"question"}),
		stale: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "counterfoil_directory_stale_total", Help: "Answers of FOLIO that were used beyond their time because it did not answer, at most one a second for each user.",
		}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.refresh, m.logins, m.ended, m.cache, m.flushed, m.failed, m.turnedBack, m.settings,
		m.questions, m.answering, m.stale, m.old,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.hit, m.miss = m.cache.WithLabelValues("hit"), m.cache.WithLabelValues("miss")
	return m
}

// cluster adds what the node knows of the others.
func (m *metrics) cluster(c interface {
	session.Cluster
	Now() time.Time
},
) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "counterfoil_feed_age_seconds", Help: "How long ago this node was known to have heard of all changes.",
	}, func() float64 { return max(0, c.Now().Sub(c.HeardAt()).Seconds()) }))
}

// node adds what is asked of the node itself when somebody scrapes.
func (m *metrics) node(s *Server) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "counterfoil_ready", Help: "1 if /admin/ready answers 200.",
		}, func() float64 {
			if _, fit := s.readiness(context.Background()); fit {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "counterfoil_build_info", Help: "1; the labels say which program runs.",
			ConstLabels: prometheus.Labels{"version": Version(), "go": runtime.Version()},
		}, func() float64 { return 1 }),
		&keyAges{s.ring, s.db.Now, prometheus.NewDesc("counterfoil_key_age_seconds", "How long ago the key that signs was made, by purpose.", []string{"purpose"}, nil)},
	)
}

// keyAges tells how old the active keys are.
type keyAges struct {
	ring *token.Ring
	now  func() time.Time
	age  *prometheus.Desc
}

func (k *keyAges) Describe(descs chan<- *prometheus.Desc) { descs <- k.age }

func (k *keyAges) Collect(found chan<- prometheus.Metric) {
	now := k.now()
	for _, key := range k.ring.Keys() {
		if key.State == token.StateActive {
			found <- prometheus.MustNewConstMetric(k.age, prometheus.GaugeValue, max(0, now.Sub(key.CreatedAt).Seconds()), key.Purpose)
		}
	}
}

func (m *metrics) request(listener, pattern string, status int, took time.Duration) {
	if pattern == "" {
		pattern = "none"
	}
	key := requestLabels{listener, pattern, status / 100}
	series, known := m.series.Load(key)
	if !known {
		series, _ = m.series.LoadOrStore(key, &requestSeries{
			requests: m.requests.WithLabelValues(listener, pattern, strconv.Itoa(key.class)+"xx"),
			duration: m.duration.WithLabelValues(listener, pattern),
		})
	}
	of := series.(*requestSeries)
	of.requests.Inc()
	of.duration.Observe(took.Seconds())
}

// requestLabels come from small fixed sets, so that requestSeries are few.
type requestLabels struct {
	listener, pattern string
	class             int
}

type requestSeries struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

// OldToken counts a token of mod-authtoken.
func (m *metrics) OldToken(kind, outcome string) { m.old.WithLabelValues(kind, outcome).Inc() }

func (m *metrics) durable(setting string, safe bool) {
	value := 0.0
	if safe {
		value = 1
	}
	m.settings.WithLabelValues(setting).Set(value)
}

// asked counts one question to FOLIO.
func (m *metrics) asked(question, outcome string, took time.Duration) {
	m.questions.WithLabelValues(question, outcome).Inc()
	if outcome != "skipped" {
		m.answering.WithLabelValues(question).Observe(took.Seconds())
	}
}

func (m *metrics) Refreshed(outcome string) { m.refresh.WithLabelValues(outcome).Inc() }

func (m *metrics) LoggedIn(result string) { m.logins.WithLabelValues(result).Inc() }

func (m *metrics) SessionsEnded(reason session.Reason, n int) {
	m.ended.WithLabelValues(string(reason)).Add(float64(n))
}

func (m *metrics) TokenCache(hit bool) {
	if hit {
		m.hit.Inc()
		return
	}
	m.miss.Inc()
}

func (m *metrics) FeedFlushed(at time.Time, _ int, err error) {
	if err != nil {
		m.failed.Inc()
		return
	}
	m.flushed.WithLabelValues().Set(float64(at.UnixMilli()) / 1000)
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
