package store

import (
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	// historyKept is how many former hashes of a user stay, FOLIO's number.
	historyKept = 10
	// actionsKept is how long an action that is over still tells its user so.
	actionsKept = 24 * time.Hour
	// logCounted is how far a log is counted for those who page through it.
	logCounted = 10_000
)

func secretOf(raw []byte) (secret [32]byte) {
	copy(secret[:], raw)
	return secret
}

func kindNames(kinds []audit.Kind) []string {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return names
}

func logPage(f session.LogFilter) (offset, limit int) {
	return min(max(0, f.Offset), logCounted), pageSize(f.Limit)
}
