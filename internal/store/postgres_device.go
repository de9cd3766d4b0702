package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

func scanDeviceRow(row pgx.CollectableRow) (d session.Device, err error) {
	var hash, id []byte
	var created, expires, polled, waits int64
	err = row.Scan(&hash, &d.UserCode, &d.Tenant, &d.Client, &d.Scope, &created, &expires, &polled, &waits, &d.Answer, &id)
	copy(d.Hash[:], hash)
	copy(d.Session[:], id)
	d.CreatedAt, d.ExpiresAt, d.PolledAt = fromMicro(created), fromMicro(expires), fromMicro(polled)
	d.Waits = time.Duration(waits) * time.Second
	return d, err
}

// CreateDevice keeps a device that waits. How many wait for a client is counted
// without a lock: a few more do no harm.
func (p *Postgres) CreateDevice(ctx context.Context, d session.Device, limit int) error {
	return p.do(ctx, func(t *pgTx) error {
		_, err := t.exec(`DELETE FROM device_codes WHERE hash = ANY(ARRAY(SELECT hash FROM device_codes WHERE expires_at < $1
			ORDER BY hash LIMIT $2 FOR UPDATE SKIP LOCKED))`, micro(t.now.Add(-devicesKept)), devicesSwept)
		if err != nil {
			return err
		}
		waiting := 0
		err = t.query(func(row pgx.CollectableRow) error { return row.Scan(&waiting) },
			`SELECT count(*) FROM device_codes WHERE client = $1 AND expires_at > $2`, d.Client, micro(t.now))
		if err != nil {
			return err
		}
		if waiting >= limit {
			return session.ErrBusy
		}
		_, err = t.exec(`INSERT INTO device_codes (`+deviceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			d.Hash[:], d.UserCode, d.Tenant, d.Client, d.Scope, micro(d.CreatedAt), micro(d.ExpiresAt), micro(d.PolledAt),
			int64(d.Waits/time.Second), string(d.Answer), sessionBytes(&d))
		switch {
		case uniqueKey(err):
			return directory.ErrExists
		case foreignKey(err):
			return notFound("tenant")
		}
		return err
	})
}

// DeviceByCode finds a device by what its user reads.
func (p *Postgres) DeviceByCode(ctx context.Context, userCode string) (session.Device, error) {
	return oneRow(ctx, p, "device", `SELECT `+deviceColumns+` FROM device_codes WHERE user_code = $1`, scanDeviceRow, userCode)
}

// UpdateDevice lets decide change a device, under its lock.
func (p *Postgres) UpdateDevice(ctx context.Context, hash [32]byte, decide func(now time.Time, d *session.Device) bool) error {
	return p.do(ctx, func(t *pgTx) error {
		var d session.Device
		found := false
		err := t.query(func(row pgx.CollectableRow) (err error) {
			found = true
			d, err = scanDeviceRow(row)
			return err
		}, `SELECT `+deviceColumns+` FROM device_codes WHERE hash = $1 FOR UPDATE`, hash[:])
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("device")
		case !decide(t.now, &d):
			return nil
		}
		t.later(`UPDATE device_codes SET polled_at = $2, waits = $3, answer = $4, session = $5 WHERE hash = $1`,
			hash[:], micro(d.PolledAt), int64(d.Waits/time.Second), string(d.Answer), sessionBytes(&d))
		return nil
	})
}
