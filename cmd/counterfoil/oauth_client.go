package main

import (
	"encoding/json"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/session"
)

type clientCommand struct {
	Secret clientSecretCommand `cmd:"" help:"Draw a secret for a client, and the hash that goes into the configuration."`
}

type clientSecretCommand struct {
	JSON bool `help:"Print JSON."`
}

func (c *clientSecretCommand) Run(p *program) error {
	secret, hash := session.NewClientSecret()
	if c.JSON {
		text, err := json.Marshal(map[string]string{"secret": secret, "secretHash": hash})
		if err != nil {
			return err
		}
		return p.json(text)
	}
	fmt.Fprintf(p.errors, "secret_hash: %s\nhand the secret over and keep no copy, it is not shown again:\n", hash)
	_, err := fmt.Fprintln(p.out, secret)
	return err
}
