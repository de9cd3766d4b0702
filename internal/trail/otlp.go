package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resources "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// OTLP is a sink that posts events as log records of OpenTelemetry. The library
// that batches such records drops them when it is behind, which an audit log must
// not: here the store is the queue, as for every sink.
type OTLP struct {
	URL string
	// Authorization is that header's value, empty for none.
	Authorization string
	// Resource says who we are, as names and values in turn.
	Resource []string
	Client   *http.Client
}

// Deliver posts records together, and one by one where some are refused.
func (o *OTLP) Deliver(ctx context.Context, records []audit.Record) (int, error) {
	if len(records) == 0 {
		return 0, nil
	}
	err := o.post(ctx, records)
	switch {
	case err == nil:
		return len(records), nil
	case len(records) == 1 || !errors.Is(err, ErrRefused):
		return 0, err
	}
	for i := range records {
		if err := o.post(ctx, records[i:i+1]); err != nil {
			return i, err
		}
	}
	return len(records), nil
}

// Close ends idle connections.
func (o *OTLP) Close() { o.Client.CloseIdleConnections() }

func (o *OTLP) post(ctx context.Context, records []audit.Record) error {
	body, err := proto.Marshal(o.request(records))
	if err != nil {
		return fmt.Errorf("audit.otlp: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("audit.otlp: the request cannot be made")
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("User-Agent", "Counterfoil")
	if o.Authorization != "" {
		request.Header.Set("Authorization", o.Authorization)
	}
	answer, err := o.Client.Do(request)
	if err != nil {
		return fmt.Errorf("audit.otlp: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("audit.otlp: %w", err)
	}
	switch code := answer.StatusCode; {
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: status %d", ErrRefused, code)
	case code != http.StatusOK:
		return fmt.Errorf("audit.otlp: status %d", code)
	}
	var got collector.ExportLogsServiceResponse
	if answer.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(text, &got) != nil {
		return nil // it took them, and says no more that can be read
	}
	if n := got.GetPartialSuccess().GetRejectedLogRecords(); n > 0 {
		return fmt.Errorf("%w: the collector rejects %d of %d", ErrRefused, n, len(records))
	}
	return nil
}

func (o *OTLP) request(records []audit.Record) *collector.ExportLogsServiceRequest {
	list := make([]*logs.LogRecord, len(records))
	for i := range records {
		list[i] = logRecord(&records[i])
	}
	return &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource:  &resources.Resource{Attributes: attributes(o.Resource...)},
		ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: "counterfoil.audit"}, LogRecords: list}},
	}}}
}

// logRecord is an event with its place in the chain. log.record.uid is the same
// whenever the event comes again.
func logRecord(r *audit.Record) *logs.LogRecord {
	severity := logs.SeverityNumber_SEVERITY_NUMBER_INFO
	if slices.Contains(audit.Notable, r.Kind) {
		severity = logs.SeverityNumber_SEVERITY_NUMBER_WARN
	}
	at := uint64(r.Time.UnixNano())
	l := &logs.LogRecord{
		TimeUnixNano: at, ObservedTimeUnixNano: at, SeverityNumber: severity, EventName: "counterfoil." + string(r.Kind),
		Body: text(r.Reason),
		Attributes: attributes(
			"log.record.uid", eventID(r), "counterfoil.caep", r.CAEP, "folio.tenant", r.Tenant, "session.id", r.Session, "user.id", r.UserID,
			"counterfoil.actor.kind", r.ActorKind, "counterfoil.actor.name", r.ActorName, "counterfoil.actor.user_id", r.ActorUserID,
			"client.address", r.Address, "user_agent.original", r.UserAgent, "folio.request_id", r.RequestID, "counterfoil.chain.hash", r.Hash,
		),
	}
	l.Attributes = append(l.Attributes, &common.KeyValue{Key: "counterfoil.chain.n", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: r.N}}})
	for name, value := range r.Detail {
		l.Attributes = append(l.Attributes, &common.KeyValue{Key: "counterfoil.detail." + name, Value: text(value)})
	}
	return l
}

// attributes are names and values in turn, without those that are empty.
func attributes(pairs ...string) (list []*common.KeyValue) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			list = append(list, &common.KeyValue{Key: pairs[i], Value: text(pairs[i+1])})
		}
	}
	return list
}

func text(value string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: strings.ToValidUTF8(value, "\ufffd")}}
}
