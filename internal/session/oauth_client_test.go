package session

import (
	"errors"
	"testing"
	"time"
)

func TestClientsAreChecked(t *testing.T) {
	_, hash := NewClientSecret()
	good := func() *Client {
		return &Client{ID: "web", Tenant: "diku", Grants: []string{GrantCode, GrantRefresh}, Scopes: []string{"*"}, Redirects: []string{"https://app.example.org/done"}}
	}
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Client){
		"no id":                     func(c *Client) { c.ID = "" },
		"id of FOLIO's own":         func(c *Client) { c.ID = ClientAPI },
		"id of the console":         func(c *Client) { c.ID = ClientConsole },
		"id that is a key's":        func(c *Client) { c.ID = ClientKey },
		"no tenant":                 func(c *Client) { c.Tenant = "" },
		"no scope":                  func(c *Client) { c.Scopes = nil },
		"scope with a space":        func(c *Client) { c.Scopes = []string{"a b"} },
		"unknown grant":             func(c *Client) { c.Grants = []string{"password"} },
		"code without redirect":     func(c *Client) { c.Redirects = nil },
		"redirect without TLS":      func(c *Client) { c.Redirects = []string{"http://app.example.org/"} },
		"redirect that is a script": func(c *Client) { c.Redirects = []string{"javascript:alert(1)"} },
		"redirect with fragment":    func(c *Client) { c.Redirects = []string{"https://app.example.org/#x"} },
		"redirect with wildcard":    func(c *Client) { c.Redirects = []string{"https://*.example.org/"} },
		"secret in the clear":       func(c *Client) { c.SecretHash = "cfcs_x" },
		"machine without secret":    func(c *Client) { c.Grants, c.User = []string{GrantCredentials}, nobody },
		"machine without user":      func(c *Client) { c.Grants, c.SecretHash = []string{GrantCredentials}, hash },
		"asks without a secret":     func(c *Client) { c.Introspect = true },
	} {
		c := good()
		spoil(c)
		if err := c.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClientSecretsAreComparedByTheirHash(t *testing.T) {
	secret, hash := NewClientSecret()
	other, _ := NewClientSecret()
	c := &Client{SecretHash: hash}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if !c.Accepts(secret, now) || c.Accepts(other, now) || c.Accepts(hash, now) || c.Accepts("", now) || (&Client{}).Accepts("", now) {
		t.Error("a secret is accepted that is none, or not the one that is")
	}
}
