package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// usageView is one while.
type usageView struct {
	Begins         time.Time `json:"begins"`
	Live           int64     `json:"live"`
	Refreshes      int64     `json:"refreshes"`
	Retries        int64     `json:"retries"`
	LateRecoveries int64     `json:"lateRecoveries"`
	Superseded     int64     `json:"superseded"`
	Reuse          int64     `json:"reuse"`
	Logins         int64     `json:"logins"`
	LoginsFailed   int64     `json:"loginsFailed"`
	Ended          int64     `json:"ended"`
	// Behind is in milliseconds.
	Behind int64 `json:"behindMs"`
}

// showUsage tells what the console plots: the last hour by minutes, and thirty
// days by six hours.
func (h *Handler) showUsage(w http.ResponseWriter, r *http.Request) error {
	view := make(map[string][]usageView)
	for _, series := range []session.UsageSeries{session.LastHour, session.LastMonth} {
		kept, err := h.Store.Usage(r.Context(), series)
		if err != nil {
			return err
		}
		for _, u := range series.Whole(kept, h.Now()) {
			view[series.Name] = append(view[series.Name], usageView{
				Begins: u.Begins, Live: u.Live, Refreshes: u.Refreshes, Retries: u.Retries, LateRecoveries: u.LateRecoveries, Superseded: u.Superseded,
				Reuse: u.Reuse, Logins: u.Logins, LoginsFailed: u.LoginsFailed, Ended: u.Ended, Behind: u.Behind.Milliseconds(),
			})
		}
	}
	return answer(w, http.StatusOK, view)
}

// Question is a request that somebody asks about: may this user make it?
type Question struct {
	Tenant, Method, Path, Module string
	// UserID is who would call; empty is nobody.
	UserID string
}

// Explanation is how the gateway would decide. Status is 200 where the request
// would reach its module.
type Explanation struct {
	Status  int    `json:"status"`
	Module  string `json:"module,omitempty"`
	Pattern string `json:"pattern,omitempty"`
	Steps   []Step `json:"steps"`
}

// Step is one step, in a sentence.
type Step struct {
	Passes bool   `json:"passes"`
	Text   string `json:"text"`
}

// Explain asks the gateway.
type Explain func(context.Context, Question) (Explanation, error)

// explain answers who may call what.
func (h *Handler) explain(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	q := Question{Tenant: query.Get("tenant"), Method: strings.ToUpper(query.Get("method")), Module: query.Get("module")}
	q.Path, _, _ = strings.Cut(query.Get("path"), "?")
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	if q.Tenant == "" || q.Path == "" {
		return &problem{http.StatusBadRequest, "malformed", "name tenant and path"}
	}
	if h.Explain == nil {
		return &problem{http.StatusServiceUnavailable, "unavailable", "there is no gateway here: ask while the program runs"}
	}
	if who := query.Get("user"); who != "" {
		u, err := h.user(r.Context(), q.Tenant, who)
		if err != nil {
			return err
		}
		q.UserID = u.ID
	}
	told, err := h.Explain(r.Context(), q)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, told)
}
