package store

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// encodeDetail is the detail of an event as it is stored.
func encodeDetail(e *audit.Event) (string, error) {
	if len(e.Detail) == 0 {
		return "", nil
	}
	// Bytes that are no UTF-8 are replaced: a fact must not go untold for them.
	text, err := json.Marshal(e.Detail, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return "", fmt.Errorf("detail of %s event: %w", e.Kind, err)
	}
	return string(text), nil
}

func decodeDetail(detail string, e *audit.Event) error {
	if detail == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(detail), &e.Detail); err != nil {
		return fmt.Errorf("detail of event %d: %w", e.Seq, err)
	}
	return nil
}

func fillActor(ctx context.Context, e *audit.Event) {
	if e.Actor == (audit.Actor{}) {
		e.Actor = *audit.ActorFrom(ctx)
	}
}
