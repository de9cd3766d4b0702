package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func someDevice(n byte, now time.Time) session.Device {
	return session.Device{
		Hash: [32]byte{n, 31: 0xff}, UserCode: fmt.Sprintf("BCDFGHJ%c", 'A'+n), Tenant: "diku", Client: "screen", Scope: "orders.item.get x",
		CreatedAt: kept(now), ExpiresAt: kept(now.Add(10 * time.Minute)), Waits: 5 * time.Second,
	}
}

var deviceTests = map[string]func(*testing.T, bench, engine){
	"a device is found by either code": func(t *testing.T, b bench, _ engine) {
		d := someDevice(1, b.Now())
		must(t, b.CreateDevice(t.Context(), d, 10))
		got, err := b.DeviceByCode(t.Context(), d.UserCode)
		must(t, err)
		wantEqual(t, got, d)
		_, err = b.DeviceByCode(t.Context(), "")
		wantError(t, err, session.ErrNotFound)
		wantError(t, b.UpdateDevice(t.Context(), [32]byte{9}, func(time.Time, *session.Device) bool { return true }), session.ErrNotFound)
		must(t, b.UpdateDevice(t.Context(), d.Hash, func(now time.Time, row *session.Device) bool {
			wantEqual(t, *row, d)
			wantEqual(t, kept(now), kept(b.Now()))
			row.Answer = session.DeviceRefused
			return false
		}))
		must(t, b.UpdateDevice(t.Context(), d.Hash, func(_ time.Time, row *session.Device) bool {
			row.PolledAt, row.Waits, row.Answer, row.Session = kept(b.Now()), 10*time.Second, session.DeviceLetIn, token.SessionID{1, 15: 2}
			d = *row
			return true
		}))
		got, err = b.DeviceByCode(t.Context(), d.UserCode)
		must(t, err)
		wantEqual(t, got, d)
	},
	"codes are unique, and the tenant is there": func(t *testing.T, b bench, _ engine) {
		d := someDevice(1, b.Now())
		must(t, b.CreateDevice(t.Context(), d, 10))
		other := someDevice(2, b.Now())
		other.UserCode = d.UserCode
		wantError(t, b.CreateDevice(t.Context(), other, 10), directory.ErrExists)
		other = someDevice(3, b.Now())
		other.Tenant = "unknown"
		wantError(t, b.CreateDevice(t.Context(), other, 10), session.ErrNotFound)
	},
	"few devices wait for one client, and the old ones leave": func(t *testing.T, b bench, _ engine) {
		for n := range byte(3) {
			must(t, b.CreateDevice(t.Context(), someDevice(n, b.Now()), 3))
		}
		wantError(t, b.CreateDevice(t.Context(), someDevice(3, b.Now()), 3), session.ErrBusy)
		other := someDevice(4, b.Now())
		other.Client = "other"
		must(t, b.CreateDevice(t.Context(), other, 3))
		b.advance(11 * time.Minute)
		must(t, b.CreateDevice(t.Context(), someDevice(5, b.Now()), 3))
		must(t, ignore(b.DeviceByCode(t.Context(), someDevice(0, b.Now()).UserCode)))
		b.advance(time.Hour)
		must(t, b.CreateDevice(t.Context(), someDevice(6, b.Now()), 3))
		_, err := b.DeviceByCode(t.Context(), someDevice(0, b.Now()).UserCode)
		wantError(t, err, session.ErrNotFound)
	},
	"one of many answers counts": func(t *testing.T, b bench, _ engine) {
		d := someDevice(1, b.Now())
		must(t, b.CreateDevice(t.Context(), d, 10))
		won := make(chan bool)
		for n := range byte(20) {
			go func() {
				first := false
				err := b.UpdateDevice(context.WithoutCancel(t.Context()), d.Hash, func(_ time.Time, row *session.Device) bool {
					first = row.Answer == ""
					row.Answer, row.Session = session.DeviceLetIn, token.SessionID{n, 15: 1}
					return first
				})
				won <- first && !errors.Is(err, session.ErrUnavailable)
			}()
		}
		winners := 0
		for range 20 {
			if <-won {
				winners++
			}
		}
		wantEqual(t, winners, 1)
	},
}
