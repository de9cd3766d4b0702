package store

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

// newCursor names a row to continue below. Callers are not to see more in it
// than that: another engine orders otherwise.
func newCursor(seq int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(seq)))
}

func openCursor(cursor string) (int64, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) != 8 {
		return 0, fmt.Errorf("%w: the cursor is not one of ours, begin with the first page", session.ErrInvalid)
	}
	return int64(binary.BigEndian.Uint64(raw)), nil
}
