package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TracingSettings say where spans go.
type TracingSettings struct {
	Endpoint          string  `yaml:"endpoint" doc:"where spans are sent by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; empty: nowhere, and none are made. See [traces](running.md#traces)"`
	AuthorizationFile string  `yaml:"authorization_file" doc:"file with what the header Authorization is to say there"`
	Sample            float64 `yaml:"sample" default:"1" doc:"share of the requests from outside that are traced, more than 0 and at most 1"`
	AcceptFromOutside bool    `yaml:"accept_from_outside" default:"false" doc:"go on with the trace that a client names in traceparent, and let it decide whether to sample. Otherwise it is linked to, and a trace of our own begins"`
}

func (c *Config) checkTracing() []error {
	var faults []error
	t := &c.Tracing
	if t.Sample <= 0 || t.Sample > 1 {
		faults = append(faults, fmt.Errorf("tracing.sample: %v is not more than 0 and at most 1", t.Sample))
	}
	if t.Endpoint == "" {
		return faults
	}
	if u, err := url.Parse(t.Endpoint); err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		faults = append(faults, errors.New("tracing.endpoint: is not a URL such as http://127.0.0.1:4318/v1/traces, without user"))
	}
	if _, err := authorization("tracing.authorization_file", t.AuthorizationFile); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// authorization is the first line of a file, empty where none is named.
func authorization(setting, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", setting, err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimSpace(line)), nil
}

// tracing makes spans of requests and brings them to a collector.
type tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	outside  bool
}

// openTracing makes nothing where no endpoint is named.
func (s *Server) openTracing(ctx context.Context) error {
	t := &s.config.Tracing
	if t.Endpoint == "" {
		return nil
	}
	header, err := authorization("tracing.authorization_file", t.AuthorizationFile)
	if err != nil {
		return err
	}
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(t.Endpoint), otlptracehttp.WithTimeout(5 * time.Second)}
	if header != "" {
		options = append(options, otlptracehttp.WithHeaders(map[string]string{"Authorization": header}))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	counted := newCountedExporter(exporter, s.metrics.registry, s.log)
	provider := sdktrace.NewTracerProvider(
		// Its queue is bounded: a collector that is away costs spans, and no
		// request waits for it.
		sdktrace.WithSpanProcessor(counted.ended), sdktrace.WithBatcher(counted),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.Sample))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "counterfoil"), attribute.String("service.version", Version()), attribute.String("service.instance.id", s.config.Node),
		)),
	)
	s.tracing = &tracing{provider: provider, tracer: provider.Tracer("counterfoil"), outside: t.AcceptFromOutside}
	return nil
}

// close brings what is left, for a moment.
func (t *tracing) close(ctx context.Context) {
	if t == nil {
		return
	}
	last, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_ = t.provider.Shutdown(last) // what was not brought is counted
}

// begin makes the span of a request. Modules name the trace that their call
// belongs to, and are believed; a stranger could have everything sampled, or join
// what belongs to others.
func (t *tracing) begin(ctx context.Context, listener string, r *http.Request) context.Context {
	if t == nil {
		return ctx
	}
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", knownMethod(r.Method)), attribute.String("counterfoil.listener", listener)),
	}
	there := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	if remote := trace.SpanContextFromContext(there); remote.IsValid() {
		if listener == Internal || t.outside {
			ctx = there
		} else {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: remote}))
		}
	}
	ctx, _ = t.tracer.Start(ctx, r.Method, options...)
	return ctx
}

// knownMethod keeps what strangers make up out of the collector.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "_OTHER"
}

// end tells what came of the request. The path is none of it: it may hold a key.
func (t *tracing) end(r *http.Request, status int) {
	if t == nil {
		return
	}
	span := trace.SpanFromContext(r.Context())
	// A route of the gateway's has named the span already; "/" is all of these.
	if r.Pattern != "" && r.Pattern != "/" {
		span.SetName(r.Pattern)
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// countedExporter counts what became of spans, and keeps a collector's faults out
// of the standard error, where the library would put them.
type countedExporter struct {
	sdktrace.SpanExporter
	ended            *endedSpans
	exported, failed prometheus.Counter
	log              *slog.Logger
}

func newCountedExporter(next sdktrace.SpanExporter, registry *prometheus.Registry, log *slog.Logger) *countedExporter {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	return &countedExporter{
		SpanExporter: next, log: log,
		ended:    &endedSpans{counter("counterfoil_trace_spans_total", "Sampled spans that ended. What is neither exported nor failed was dropped, or waits.")},
		exported: counter("counterfoil_trace_spans_exported_total", "Spans that the collector took."),
		failed:   counter("counterfoil_trace_spans_failed_total", "Spans that the collector did not take, for good."),
	}
}

func (e *countedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.failed.Add(float64(len(spans)))
		e.log.WarnContext(ctx, "spans were not taken by the collector", "spans", len(spans), "error", err)
		return nil
	}
	e.exported.Add(float64(len(spans)))
	return nil
}

// endedSpans counts spans as they end.
type endedSpans struct{ n prometheus.Counter }

func (e *endedSpans) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (e *endedSpans) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		e.n.Inc()
	}
}
func (e *endedSpans) Shutdown(context.Context) error   { return nil }
func (e *endedSpans) ForceFlush(context.Context) error { return nil }
