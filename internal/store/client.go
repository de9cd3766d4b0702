package store

import (
	"encoding/json"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/session"
)

// A client is kept as JSON: nothing is looked for in it, and what there is to be
// known of one grows.

func encodeClient(c *session.Client) (string, error) {
	text, err := json.Marshal(c)
	return string(text), err
}

func decodeClient(text string) (c session.Client, err error) {
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return c, fmt.Errorf("%w: client", errUnreadable)
	}
	return c, nil
}

func clientChanged(c *session.Client) session.Change {
	return session.Change{Kind: session.ClientsChanged, Tenant: c.Tenant}
}
