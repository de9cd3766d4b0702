package store

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"

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

// place is where a row stands in a list: below that of a page's last row the next
// page begins.
type place struct{ day, seq int64 }

var top = place{math.MaxInt64, math.MaxInt64}

// newCursor names a row to continue below. Callers are not to see more in it
// than that: another engine orders otherwise.
func newCursor(r *row, f session.Filter) string {
	var raw []byte
	if f.ByActivity {
		raw = binary.BigEndian.AppendUint64(raw, uint64(r.day))
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(raw, uint64(r.seq)))
}

// openCursor is where a page begins. A cursor of a list in the other order is
// none.
func openCursor(f session.Filter) (place, error) {
	if f.Cursor == "" {
		return top, nil
	}
	size := 8
	if f.ByActivity {
		size = 16
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(f.Cursor)
	if err != nil || len(raw) != size {
		return place{}, fmt.Errorf("%w: the cursor is not one of ours for this order, begin with the first page", session.ErrInvalid)
	}
	at := place{top.day, int64(binary.BigEndian.Uint64(raw[size-8:]))}
	if f.ByActivity {
		at.day = int64(binary.BigEndian.Uint64(raw))
	}
	return at, nil
}
