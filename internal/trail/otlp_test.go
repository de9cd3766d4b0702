package trail

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// A collector that takes some records, refuses one, or fails, as OTLP lets it say.
func TestOTLPRecordsAndRefusals(t *testing.T) {
	status, rejects := http.StatusOK, ""
	var got []*logs.LogRecord
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var asked collector.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &asked); err != nil || r.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("%v, %v", err, r.Header)
		}
		list := asked.ResourceLogs[0].ScopeLogs[0].LogRecords
		answer := &collector.ExportLogsServiceResponse{}
		for _, l := range list {
			if l.Body.GetStringValue() == rejects {
				answer.PartialSuccess = &collector.ExportLogsPartialSuccess{RejectedLogRecords: 1}
			}
		}
		if answer.PartialSuccess == nil && status == http.StatusOK {
			got = append(got, list...)
		}
		text, _ := proto.Marshal(answer)
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.WriteHeader(status)
		_, _ = w.Write(text)
	}))
	defer server.Close()
	o := &OTLP{URL: server.URL, Authorization: "Bearer x", Resource: []string{"service.name", "counterfoil"}, Client: NewWebhookClient()}
	defer o.Close()
	records := make([]audit.Record, 3)
	for i := range records {
		records[i] = one
		records[i].N, records[i].Reason, records[i].UserAgent = int64(i), strings.Repeat("r", i+1), "a\xffb"
	}
	for _, c := range []struct {
		status  int
		rejects string
		n       int
		refused bool
	}{{200, "none", 3, false}, {200, "rr", 1, true}, {400, "none", 0, true}, {503, "none", 0, false}, {302, "none", 0, false}} {
		status, rejects, got = c.status, c.rejects, nil
		n, err := o.Deliver(t.Context(), records)
		if n != c.n || (err == nil) != (c.n == 3) || errors.Is(err, ErrRefused) != c.refused {
			t.Errorf("%+v: %d, %v", c, n, err)
		}
		if c.n == 3 && (got[2].EventName != "counterfoil.session_revoked" || got[2].TimeUnixNano != uint64(one.Time.UnixNano())) {
			t.Errorf("%+v", got[2])
		}
	}
	found := map[string]string{}
	for _, a := range logRecord(&records[2]).Attributes {
		found[a.Key] = a.Value.GetStringValue()
	}
	if found["log.record.uid"] != eventID(&one) || found["folio.tenant"] != "diku" || found["user_agent.original"] != "a\ufffdb" || !strings.HasSuffix(found["counterfoil.caep"], "session-revoked") {
		t.Errorf("%v", found)
	}
}
