package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/trail"
)

// AuditSettings say what becomes of the audit log.
type AuditSettings struct {
	Keep            session.Duration `yaml:"keep" doc:"delete events, chain and checkpoints when they are so old, 31d at least and more than keep_ended; empty keeps them for ever. Events of sessions and refused logins go with keep_ended"`
	SealEvery       session.Duration `yaml:"seal_every" default:"1s" doc:"how often new events are chained, 100ms to 1m; what is not yet chained can be altered unnoticed"`
	CheckpointEvery session.Duration `yaml:"checkpoint_every" default:"1m" doc:"how often the chain is signed, 1s to 1h"`

	File struct {
		Path     string `yaml:"path" doc:"file that each event is appended to as a line of JSON; empty: none. Each node writes its own"`
		MaxBytes int64  `yaml:"max_bytes" default:"104857600" doc:"a file of that size is put aside as PATH.N, N being the first record of the next; 4096 at least. Nothing is deleted"`
		NoSync   bool   `yaml:"no_sync" default:"false" doc:"count lines as delivered before they are on the disk: a power cut may take some"`
	} `yaml:"file"`
	Webhook struct {
		URL        string `yaml:"url" doc:"where each event is posted, https or http on loopback; empty: nowhere. See [audit](audit.md#webhook)"`
		SecretFile string `yaml:"secret_file" doc:"file with the secret that signs what is posted, 32 characters at least"`
	} `yaml:"webhook"`
	OTLP struct {
		URL               string `yaml:"url" doc:"where events are posted as log records of OpenTelemetry, https or http on loopback, such as http://127.0.0.1:4318/v1/logs; empty: nowhere"`
		AuthorizationFile string `yaml:"authorization_file" doc:"file with what the header Authorization is to say there"`
	} `yaml:"otlp"`
}

func (a *AuditSettings) setDefaults() {
	if a.SealEvery == 0 {
		a.SealEvery = session.Duration(time.Second)
	}
	if a.CheckpointEvery == 0 {
		a.CheckpointEvery = session.Duration(time.Minute)
	}
	if a.File.MaxBytes == 0 {
		a.File.MaxBytes = 100 << 20
	}
}

func (c *Config) checkAudit() []error {
	var faults []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	a := &c.Audit
	bad(a.Keep != 0 && (a.Keep.Std() < 31*24*time.Hour || a.Keep <= c.KeepEnded), "audit.keep: must be 31d at least and more than keep_ended")
	bad(a.SealEvery.Std() < 100*time.Millisecond || a.SealEvery.Std() > time.Minute, "audit.seal_every: %s is not between 100ms and 1m", a.SealEvery.Std())
	bad(a.CheckpointEvery.Std() < time.Second || a.CheckpointEvery.Std() > time.Hour, "audit.checkpoint_every: %s is not between 1s and 1h", a.CheckpointEvery.Std())
	bad(a.File.MaxBytes < 4096, "audit.file.max_bytes: %d is less than 4096", a.File.MaxBytes)
	if a.OTLP.URL != "" {
		err := checkReceiver("audit.otlp.url", a.OTLP.URL)
		bad(err != nil, "%v", err)
	}
	_, err := authorization("audit.otlp.authorization_file", a.OTLP.AuthorizationFile)
	bad(err != nil, "%v", err)
	if a.Webhook.URL == "" {
		bad(a.Webhook.SecretFile != "", "audit.webhook: secret_file without url")
		return faults
	}
	if err := checkReceiver("audit.webhook.url", a.Webhook.URL); err != nil {
		faults = append(faults, err)
	}
	_, err = webhookSecret(a.Webhook.SecretFile)
	bad(err != nil, "%v", err)
	return faults
}

// checkReceiver repeats nothing of a URL: its path may be a secret. Names are looked
// up when they are called, and their addresses are checked then.
func checkReceiver(setting, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New(setting + ": is not an https URL without user or fragment")
	}
	at, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && at.IsLoopback()
	if err == nil && trail.Forbidden(at) {
		return errors.New(setting + ": link-local, multicast and unspecified addresses are not called")
	}
	if u.Scheme == "http" && !loopback {
		return errors.New(setting + ": must be https, unless it is on loopback: events name users")
	}
	return nil
}

func webhookSecret(file string) ([]byte, error) {
	if file == "" {
		return nil, errors.New("audit.webhook.secret_file: must name a file with the secret that signs what is posted")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("audit.webhook.secret_file: %w", err)
	}
	secret := bytes.TrimSpace(text)
	if len(secret) < 32 {
		return nil, errors.New("audit.webhook.secret_file: must hold 32 characters at least")
	}
	return secret, nil
}

// AnchorFile is where a node keeps its newest checkpoint outside of the database.
func AnchorFile(data string) string { return filepath.Join(data, "audit-checkpoint.json") }

func (s *Server) openTrail(ctx context.Context) error {
	c := s.config
	t := &trail.Trail{
		Store: s.db, Vouch: s.ring.Vouch, Now: s.db.Now, Log: s.log, Observe: newTrailMetrics(s.metrics.registry),
		Every: c.Audit.SealEvery.Std(), CheckpointEvery: c.Audit.CheckpointEvery.Std(),
		KeepPassing: time.Duration(c.KeepEnded), Keep: c.Audit.Keep.Std(), Anchored: s.anchor,
	}
	if f := c.Audit.File; f.Path != "" {
		t.Sinks = append(t.Sinks, &trail.Sink{
			Name: "file " + c.Node, Holder: c.Node, Out: &trail.File{Path: f.Path, MaxBytes: f.MaxBytes, Sync: !f.NoSync},
		})
	}
	if h := c.Audit.Webhook; h.URL != "" {
		secret, err := webhookSecret(h.SecretFile)
		if err != nil {
			return err
		}
		issuer := c.PublicURL
		if issuer == "" {
			issuer = "counterfoil"
		}
		t.Sinks = append(t.Sinks, &trail.Sink{
			Name: "webhook", Holder: c.Node,
			Out: &trail.Webhook{URL: h.URL, Secret: secret, Issuer: issuer, Now: c.Now, Client: trail.NewWebhookClient()},
		})
	}
	if l := c.Audit.OTLP; l.URL != "" {
		header, err := authorization("audit.otlp.authorization_file", l.AuthorizationFile)
		if err != nil {
			return err
		}
		t.Sinks = append(t.Sinks, &trail.Sink{
			Name: "otlp", Holder: c.Node,
			Out: &trail.OTLP{
				URL: l.URL, Authorization: header, Client: trail.NewWebhookClient(),
				Resource: []string{"service.name", "counterfoil", "service.version", Version(), "service.instance.id", c.Node},
			},
		})
	}
	for _, one := range s.sessions.AllClients() {
		if one.LogoutURI != "" {
			t.Sinks = append(t.Sinks, &trail.Sink{Name: "logout " + one.ID, Holder: c.Node, Out: refusing{&oauth.Backchannel{
				Client: one, Sessions: s.sessions, Ring: s.ring, HTTP: trail.NewWebhookClient(), Now: c.Now,
			}}})
		}
	}
	if err := t.Start(ctx); err != nil {
		return err
	}
	s.trail = t
	return nil
}

// refusing translates a client's refusal: package oauth does not know the trail.
type refusing struct{ *oauth.Backchannel }

func (r refusing) Deliver(ctx context.Context, records []audit.Record) (int, error) {
	n, err := r.Backchannel.Deliver(ctx, records)
	if errors.Is(err, oauth.ErrNotTold) {
		err = fmt.Errorf("%w: %w", trail.ErrRefused, err)
	}
	return n, err
}

// anchor keeps a checkpoint beside the database, where whoever only writes to that
// cannot delete it. One that the chain does not bear out is not replaced: it is the
// proof that something was cut off.
func (s *Server) anchor(ctx context.Context, c audit.Checkpoint) error {
	file := AnchorFile(s.config.Data)
	text, err := os.ReadFile(file)
	if err == nil {
		err = s.bearsOut(ctx, text, &c)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", file, err)
	}
	r := audit.OfCheckpoint(&c)
	line, err := r.AppendLine(nil)
	if err != nil {
		return err
	}
	return replaceFile(file, line)
}

// bearsOut is whether the chain still has what a checkpoint of an earlier time says.
func (s *Server) bearsOut(ctx context.Context, text []byte, newest *audit.Checkpoint) error {
	r, err := audit.ParseRecord(text)
	if err != nil {
		return err
	}
	kept, err := r.Checkpoint()
	if err != nil {
		return err
	}
	links, err := s.db.Chain(ctx, kept.N-1, 1)
	if err != nil {
		return err
	}
	if kept.N > newest.N || len(links) > 0 && links[0].N == kept.N && links[0].Hash != kept.Hash {
		return errors.New("the audit log lacks records that were signed: if the database was restored, move this file away; if not, `counterfoil audit verify` tells more")
	}
	return nil
}

// trailMetrics count what becomes of the audit log. A sink's name has the node's in
// it, of which there are few.
type trailMetrics struct {
	head                          prometheus.Gauge
	failed                        prometheus.Counter
	lag                           *prometheus.GaugeVec
	delivered, faults, dead, lost *prometheus.CounterVec
}

var _ trail.Observer = (*trailMetrics)(nil)

func newTrailMetrics(registry *prometheus.Registry) *trailMetrics {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"sink"})
	}
	m := &trailMetrics{
		head: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "counterfoil_audit_sealed_records", Help: "Number of the newest record in the chain of the audit log.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "counterfoil_audit_seal_errors_total", Help: "Attempts to chain events that failed.",
		}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "counterfoil_audit_sink_lag_records", Help: "Chained records that a sink does not have yet, as the node that feeds it knows.",
		}, []string{"sink"}),
		delivered: vec("counterfoil_audit_sink_delivered_total", "Records that a sink took, repeated ones too."),
		faults:    vec("counterfoil_audit_sink_errors_total", "Attempts to bring records to a sink that failed."),
		dead:      vec("counterfoil_audit_sink_dead_letters_total", "Records that a sink refused for good."),
		lost:      vec("counterfoil_audit_sink_lost_total", "Records that were deleted by age before a sink had them."),
	}
	registry.MustRegister(m.head, m.failed, m.lag, m.delivered, m.faults, m.dead, m.lost)
	return m
}

func (m *trailMetrics) Sealed(head int64, err error) {
	if err != nil {
		m.failed.Inc()
		return
	}
	m.head.Set(float64(head))
}

func (m *trailMetrics) SinkDelivered(sink string, n int, lag int64) {
	m.delivered.WithLabelValues(sink).Add(float64(n))
	m.lag.WithLabelValues(sink).Set(float64(lag))
}
func (m *trailMetrics) SinkFailed(sink string)      { m.faults.WithLabelValues(sink).Inc() }
func (m *trailMetrics) SinkDead(sink string, n int) { m.dead.WithLabelValues(sink).Add(float64(n)) }
func (m *trailMetrics) SinkLost(sink string, n int) { m.lost.WithLabelValues(sink).Add(float64(n)) }
