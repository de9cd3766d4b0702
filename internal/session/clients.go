package session

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// ClientStore keeps the clients of OAuth that operators registered.
type ClientStore interface {
	OAuthClients(ctx context.Context) ([]Client, error)
	// CreateClient fails with directory.ErrExists for an id that is taken.
	CreateClient(ctx context.Context, c Client, event audit.Event) error
	// UpdateClient lets change change one, or leave it by an error. change runs once
	// or more.
	UpdateClient(ctx context.Context, id string, change func(*Client) error, event audit.Event) (Client, error)
	DeleteClient(ctx context.Context, id string, event audit.Event) error
}

// Client is the one with an id, nil if there is none. Those of the configuration
// come first, so that nobody who may write to the database takes their place.
func (s *Service) Client(id string) *Client {
	if c := s.Clients[id]; c != nil {
		return c
	}
	if known := s.registered.Load(); known != nil {
		return (*known)[id]
	}
	return nil
}

// AllClients are those of the configuration and those that were registered, in the
// order of tenants and ids.
func (s *Service) AllClients() []*Client {
	all := maps.Clone(s.Clients)
	if all == nil {
		all = make(map[string]*Client)
	}
	if known := s.registered.Load(); known != nil {
		for id, c := range *known {
			if all[id] == nil {
				all[id] = c
			}
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b *Client) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID))
	})
}

// LoadClients reads the registered clients again. It is called at the start, and
// before a change is acknowledged on any node.
func (s *Service) LoadClients(ctx context.Context) error {
	if s.Registered == nil {
		return nil
	}
	list, err := s.Registered.OAuthClients(ctx)
	if err != nil {
		return fmt.Errorf("read clients: %w", err)
	}
	known := make(map[string]*Client, len(list))
	for i := range list {
		known[list[i].ID] = &list[i]
	}
	s.registered.Store(&known)
	return nil
}

// RegisterClient keeps a new client. secret is drawn if it is to have one, and is
// told this once.
func (s *Service) RegisterClient(ctx context.Context, c Client, withSecret bool) (_ *Client, secret string, err error) {
	if withSecret {
		secret, c.SecretHash = NewClientSecret()
	}
	if err := c.Check(); err != nil {
		return nil, "", err
	}
	if s.Clients[c.ID] != nil {
		return nil, "", fmt.Errorf("%w: there is a client of this id in the configuration", directory.ErrExists)
	}
	return &c, secret, s.Registered.CreateClient(ctx, c, clientEvent(ctx, &c, "registered"))
}

// ChangeClient changes what is not the id or the tenant of a client. Its sessions go
// on, with what the client may do from now on.
func (s *Service) ChangeClient(ctx context.Context, id string, change func(*Client) error) (Client, error) {
	return s.updateClient(ctx, id, "changed", func(c *Client) error {
		if err := change(c); err != nil {
			return err
		}
		return c.Check()
	})
}

// RotateClientSecret gives a client another secret, which is told this once. The one
// before is taken for as long as keep.
func (s *Service) RotateClientSecret(ctx context.Context, id string, keep time.Duration) (c Client, secret string, err error) {
	secret, hash := NewClientSecret()
	c, err = s.updateClient(ctx, id, "has another secret", func(c *Client) error {
		if c.SecretHash == "" {
			return fmt.Errorf("%w: the client has no secret", ErrInvalid)
		}
		c.OldSecretHash, c.OldSecretUntil, c.SecretHash = c.SecretHash, s.Now().Add(keep).UTC().Truncate(time.Second), hash
		return nil
	})
	return c, secret, err
}

func (s *Service) updateClient(ctx context.Context, id, what string, change func(*Client) error) (Client, error) {
	if c := s.Clients[id]; c != nil {
		return Client{}, fmt.Errorf("%w: this client is in the configuration, change it there", ErrForbidden)
	}
	known := s.Client(id)
	if known == nil {
		return Client{}, ErrNotFound
	}
	return s.Registered.UpdateClient(ctx, id, func(c *Client) error {
		tenant := c.Tenant
		if err := change(c); err != nil {
			return err
		}
		if c.ID != id || c.Tenant != tenant {
			return fmt.Errorf("%w: id and tenant of a client are fixed", ErrInvalid)
		}
		return nil
	}, clientEvent(ctx, known, what))
}

// RemoveClient forgets a client and ends its sessions. It returns how many ended.
func (s *Service) RemoveClient(ctx context.Context, id string) (int, error) {
	if s.Clients[id] != nil {
		return 0, fmt.Errorf("%w: this client is in the configuration, remove it there", ErrForbidden)
	}
	c := s.Client(id)
	if c == nil {
		return 0, ErrNotFound
	}
	// Without the client nobody refreshes any more, and its access tokens hold
	// nowhere; what follows is so that lists say so, too.
	if err := s.Registered.DeleteClient(ctx, id, clientEvent(ctx, c, "removed")); err != nil {
		return 0, err
	}
	return s.EndMatching(ctx, Filter{Tenant: c.Tenant, Client: c.ID, Live: true}, s.Now())
}

func clientEvent(ctx context.Context, c *Client, what string) audit.Event {
	e := event(ctx, audit.ClientChanged, nil, "client "+c.ID+" "+what)
	e.Tenant, e.Detail = c.Tenant, map[string]string{"client": c.ID}
	return e
}
