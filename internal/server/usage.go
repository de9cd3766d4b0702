package server

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// usage counts what the console plots, beside the metrics, and stores it once a
// minute: no request waits for a row that all nodes write.
type usage struct {
	session.Observer
	store session.UsageStore

	refreshes, retries, late, superseded, reuse, logins, failed, ended atomic.Int64
}

func (u *usage) Refreshed(outcome string) {
	u.Observer.Refreshed(outcome)
	switch outcome {
	case session.Rotated.String(), session.Floored.String():
		u.refreshes.Add(1)
	case session.Retried.String():
		u.retries.Add(1)
	case session.Recovered.String():
		u.late.Add(1)
	case session.Stale.String(), session.StaleAgain.String():
		u.superseded.Add(1)
	}
}

func (u *usage) LoggedIn(result string) {
	u.Observer.LoggedIn(result)
	if result == "ok" {
		u.logins.Add(1)
	} else {
		u.failed.Add(1)
	}
}

func (u *usage) SessionsEnded(reason session.Reason, n int) {
	u.Observer.SessionsEnded(reason, n)
	u.ended.Add(int64(n))
	if reason == session.RefreshReuse {
		u.reuse.Add(int64(n))
	}
}

// storeEvery is how often the counts are stored.
const storeEvery = time.Minute

// keep stores the counts until ctx ends, and then once more.
func (u *usage) keep(ctx context.Context, now func() time.Time, behind func() time.Duration, log *slog.Logger) {
	tick := time.NewTicker(storeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			u.put(last, now(), behind(), log)
			return
		case <-tick.C:
			u.put(ctx, now(), behind(), log)
		}
	}
}

func (u *usage) put(ctx context.Context, at time.Time, behind time.Duration, log *slog.Logger) {
	live, err := u.store.CountLive(ctx)
	taken := session.Usage{
		Live: live, Refreshes: u.refreshes.Swap(0), Retries: u.retries.Swap(0), LateRecoveries: u.late.Swap(0), Superseded: u.superseded.Swap(0),
		Reuse: u.reuse.Swap(0), Logins: u.logins.Swap(0), LoginsFailed: u.failed.Swap(0), Ended: u.ended.Swap(0), Behind: max(0, behind),
	}
	if err == nil {
		err = u.store.AddUsage(ctx, at, taken)
	}
	if err == nil {
		return
	}
	log.WarnContext(ctx, "usage was not stored, it will be tried again", "error", err)
	u.refreshes.Add(taken.Refreshes)
	u.retries.Add(taken.Retries)
	u.late.Add(taken.LateRecoveries)
	u.superseded.Add(taken.Superseded)
	u.reuse.Add(taken.Reuse)
	u.logins.Add(taken.Logins)
	u.failed.Add(taken.LoginsFailed)
	u.ended.Add(taken.Ended)
}
