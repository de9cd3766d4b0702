package ssm_test

import (
	"context"
	"log"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/ssm"
)

// An edge module whose institutional user's password is in the Parameter
// Store, as FOLIO's own edge modules keep it.
func ExampleNew() {
	secrets, err := ssm.New(context.Background(), config.WithRegion("eu-central-1"))
	if err != nil {
		log.Fatal(err)
	}
	session := &client.Session{
		BaseURL: "https://folio.example.org/okapi",
		Tenant:  "diku",
		Login:   client.FOLIOPassword{Username: "edge", Salt: "nZ56F3LeAa", Secrets: secrets}, // nZ56F3LeAa_diku_edge
	}
	_ = session.Client()
	// Output:
}
