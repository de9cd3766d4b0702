package store

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	deviceColumns = `hash, user_code, tenant, client, scope, created_at, expires_at, polled_at, waits, answer, session`
	// devicesKept is how long a device is told that its time is over.
	devicesKept = time.Hour
	// devicesSwept are forgotten with each one that comes.
	devicesSwept = 50
)

func scanDevice(stmt *sqlite.Stmt) (d session.Device, err error) {
	d = session.Device{
		UserCode: stmt.ColumnText(1), Tenant: stmt.ColumnText(2), Client: stmt.ColumnText(3), Scope: stmt.ColumnText(4),
		CreatedAt: fromMicro(stmt.ColumnInt64(5)), ExpiresAt: fromMicro(stmt.ColumnInt64(6)), PolledAt: fromMicro(stmt.ColumnInt64(7)),
		Waits: time.Duration(stmt.ColumnInt64(8)) * time.Second, Answer: session.DeviceAnswer(stmt.ColumnText(9)),
	}
	stmt.ColumnBytes(0, d.Hash[:])
	stmt.ColumnBytes(10, d.Session[:])
	return d, nil
}

// sessionBytes is a session's id as a column that may be empty.
func sessionBytes(d *session.Device) []byte {
	if d.Session.IsZero() {
		return []byte{}
	}
	return d.Session[:]
}

// CreateDevice keeps a device that waits.
func (s *SQLite) CreateDevice(ctx context.Context, d session.Device, limit int) error {
	return s.writer.do(ctx, func(t *tx) error {
		err := t.exec(`DELETE FROM device_codes WHERE hash IN (SELECT hash FROM device_codes WHERE expires_at < ?1 LIMIT ?2)`,
			micro(t.now.Add(-devicesKept)), devicesSwept)
		if err != nil {
			return err
		}
		waiting, err := t.number(`SELECT count(*) FROM device_codes WHERE client = ?1 AND expires_at > ?2`, d.Client, micro(t.now))
		if err != nil {
			return err
		}
		if waiting >= int64(limit) {
			return session.ErrBusy
		}
		err = t.exec(`INSERT INTO device_codes (`+deviceColumns+`) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)`,
			d.Hash[:], d.UserCode, d.Tenant, d.Client, d.Scope, micro(d.CreatedAt), micro(d.ExpiresAt), micro(d.PolledAt),
			int64(d.Waits/time.Second), string(d.Answer), sessionBytes(&d))
		switch {
		case unique(err):
			return directory.ErrExists
		case foreign(err):
			return notFound("tenant")
		}
		return err
	})
}

// DeviceByCode finds a device by what its user reads.
func (s *SQLite) DeviceByCode(ctx context.Context, userCode string) (session.Device, error) {
	return one(ctx, s, "device", `SELECT `+deviceColumns+` FROM device_codes WHERE user_code = ?1`, scanDevice, userCode)
}

// UpdateDevice lets decide change a device.
func (s *SQLite) UpdateDevice(ctx context.Context, hash [32]byte, decide func(now time.Time, d *session.Device) bool) error {
	return s.writer.do(ctx, func(t *tx) error {
		var d session.Device
		found := false
		err := rows(t.conn, `SELECT `+deviceColumns+` FROM device_codes WHERE hash = ?1`, func(stmt *sqlite.Stmt) (err error) {
			found = true
			d, err = scanDevice(stmt)
			return err
		}, hash[:])
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("device")
		case !decide(t.now, &d):
			return nil
		}
		return t.exec(`UPDATE device_codes SET polled_at = ?2, waits = ?3, answer = ?4, session = ?5 WHERE hash = ?1`,
			hash[:], micro(d.PolledAt), int64(d.Waits/time.Second), string(d.Answer), sessionBytes(&d))
	})
}
