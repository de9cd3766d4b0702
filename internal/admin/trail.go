package admin

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// Trail reads the audit log with its chain.
type Trail interface {
	ChainHead(ctx context.Context) (audit.Link, error)
	Unsealed(ctx context.Context) (audit.Unsealed, error)
	NewestCheckpoint(ctx context.Context, before time.Time) (audit.Checkpoint, error)
	Sinks(ctx context.Context) ([]audit.Sink, error)
	DeadLetters(ctx context.Context, limit int) ([]audit.DeadLetter, error)
	// Page reads out the records after a link, and where the next page begins.
	Page(ctx context.Context, after int64) ([]audit.Record, int64, error)
}

func (h *Handler) mountTrail(mux *http.ServeMux) {
	mux.Handle("GET /counterfoil/audit", h.guarded(h.showTrail))
	mux.Handle("GET /counterfoil/audit/records", h.guarded(h.listRecords))
	mux.Handle("GET /counterfoil/audit/keys", h.guarded(h.listAuditKeys))
}

// trailView is how far the chain and the sinks are.
type trailView struct {
	Sealed      int64            `json:"sealed"`
	Waiting     int64            `json:"waiting"`
	Signed      int64            `json:"signed"`
	SignedAt    *time.Time       `json:"signedAt,omitempty"`
	Sinks       []sinkView       `json:"sinks"`
	DeadLetters []deadLetterView `json:"deadLetters"`
}

type sinkView struct {
	Name   string `json:"name"`
	N      int64  `json:"n"`
	Lag    int64  `json:"lag"`
	Dead   int64  `json:"dead"`
	Holder string `json:"holder"`
}

type deadLetterView struct {
	Sink string    `json:"sink"`
	N    int64     `json:"n"`
	At   time.Time `json:"at"`
	Why  string    `json:"why"`
}

// shownDead is how many dead letters are listed; all are counted.
const shownDead = 100

func (h *Handler) showTrail(w http.ResponseWriter, r *http.Request) error {
	head, err := h.Trail.ChainHead(r.Context())
	if err != nil {
		return err
	}
	rest, err := h.Trail.Unsealed(r.Context())
	if err != nil {
		return err
	}
	signed, err := h.Trail.NewestCheckpoint(r.Context(), time.Time{})
	if err != nil {
		return err
	}
	sinks, err := h.Trail.Sinks(r.Context())
	if err != nil {
		return err
	}
	dead, err := h.Trail.DeadLetters(r.Context(), shownDead)
	if err != nil {
		return err
	}
	view := trailView{
		Sealed: head.N, Waiting: rest.Waiting, Signed: signed.N, SignedAt: set(signed.At), Sinks: []sinkView{}, DeadLetters: []deadLetterView{},
	}
	for _, s := range sinks {
		view.Sinks = append(view.Sinks, sinkView{s.Name, s.N, max(0, head.N-s.N), s.Dead, s.Holder})
	}
	for _, d := range dead {
		view.DeadLetters = append(view.DeadLetters, deadLetterView{d.Sink, d.N, d.At, d.Why})
	}
	return answer(w, http.StatusOK, view)
}

func (h *Handler) listRecords(w http.ResponseWriter, r *http.Request) error {
	after, err := number(r, "after", 0, math.MaxInt)
	if err != nil {
		return err
	}
	records, next, err := h.Trail.Page(r.Context(), int64(after))
	if err != nil {
		return err
	}
	var text []byte
	for i := range records {
		if text, err = records[i].AppendLine(text); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("X-Next", strconv.FormatInt(next, 10))
	_, err = w.Write(text)
	return err
}

func (h *Handler) listAuditKeys(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, map[string]any{"keys": h.Tokens.AuditKeys()})
}

func moment(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, &problem{http.StatusBadRequest, "malformed", name + " must be a time such as 2026-11-26T03:00:00Z"}
	}
	return at, nil
}
