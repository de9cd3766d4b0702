package gateway

import (
	"context"
	"errors"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The attributes of spans. OpenTelemetry has no name for FOLIO's. The request id is
// Okapi's, in which each nested call adds its own part: 123456/orders;654321/users.
const (
	attrTenant    = attribute.Key("folio.tenant")
	attrModule    = attribute.Key("folio.module")
	attrRequestID = attribute.Key("folio.request_id")
	attrRoute     = attribute.Key("http.route")
	attrMethod    = attribute.Key("http.request.method")
	attrServer    = attribute.Key("server.address")
	attrStatus    = attribute.Key("http.response.status_code")
)

// call asks a module, within a span of its own where spans are wanted.
func (g *Gateway) call(out *http.Request) (*http.Response, error) {
	if g.Tracer == nil {
		return g.transport.RoundTrip(out)
	}
	return g.traced(out, g.transport.RoundTrip)
}

// traced sends a request to a module within a span. Whoever is called takes the
// trace from there: what the client sent as traceparent is replaced. Neither path
// nor query are told, which may hold keys.
func (g *Gateway) traced(out *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	pattern := out.Header.Get("X-Okapi-Match-Path-Pattern")
	ctx, span := g.Tracer.Start(out.Context(), "call "+out.Method+" "+pattern, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attrTenant.String(out.Header.Get("X-Okapi-Tenant")), attrRequestID.String(out.Header.Get("X-Okapi-Request-Id")),
		attrRoute.String(pattern), attrMethod.String(out.Method), attrServer.String(out.URL.Host),
	))
	defer span.End()
	out.Header.Del("Tracestate")
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(out.Header))
	res, err := send(out)
	switch {
	case err == nil:
		span.SetAttributes(attrStatus.Int(res.StatusCode))
		if res.StatusCode >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	case !errors.Is(ctx.Err(), context.Canceled): // a client that left is no fault
		// Not err itself, in which net/http repeats what the module sent.
		span.SetStatus(codes.Error, "no valid answer")
	}
	return res, err
}

// describe gives the span of the whole request the route's name, once that is known.
func (x *exchange) describe(ctx context.Context) {
	if x.gateway.Tracer == nil {
		return
	}
	span, told := trace.SpanFromContext(ctx), &x.told
	span.SetName(told.Method + " " + told.MatchPathPattern)
	span.SetAttributes(attrModule.String(x.module), attrTenant.String(told.Tenant), attrRequestID.String(told.RequestID), attrRoute.String(told.MatchPathPattern))
}
