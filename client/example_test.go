package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

// gateway stands for the real one in these examples.
func gateway() *clienttest.Server {
	g := clienttest.NewInMemory(nil)
	g.HandleFunc("GET /orders", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "2 orders") })
	return g
}

func Example() {
	folio := gateway()
	session := &client.Session{
		BaseURL: folio.URL, // https://folio.example.org/okapi
		Tenant:  "diku",
		Login:   client.Password{Username: "reader", Password: clienttest.Password},
		HTTP:    folio.HTTP(), // for the example only
		Now:     folio.Now,
	}
	web := session.Client()
	for range 3 {
		answer, err := web.Get(folio.URL + "/orders")
		if err != nil {
			log.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		fmt.Printf("%s\n", text)
		folio.Advance(time.Hour) // the access token ends
	}
	count := folio.Count()
	fmt.Println(count.Logins, "login,", count.Refreshes, "refreshes")
	// Output:
	// 2 orders
	// 2 orders
	// 2 orders
	// 1 login, 2 refreshes
}

// A program with an http.Client of its own keeps it and adds the Transport.
func ExampleTransport() {
	folio := gateway()
	session := folio.Session()
	web := &http.Client{
		Timeout:   time.Minute,
		Transport: &client.Transport{Session: session, Base: folio.HTTP().Transport},
	}
	answer, err := web.Get(folio.URL + "/orders")
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Println(answer.Status)
	// Output: 200 OK
}

// A tool at the terminal: the first run logs in, later ones go on.
func ExampleFileStore() {
	folio := gateway()
	home, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	for range 3 {
		session := folio.Session()
		session.Store = client.FileStore{Path: filepath.Join(home, "session.json")}
		if _, err := session.Token(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(folio.Count().Logins, "login")
	// Output: 1 login
}

func ExampleSessionEnded() {
	folio := gateway()
	session := folio.Session()
	session.Login = client.Password{Username: "reader", Password: "mistyped"}
	_, err := session.Client().Get(folio.URL + "/orders")
	var ended *client.SessionEnded
	if errors.As(err, &ended) {
		fmt.Println(ended.Reason)
	}
	// Output: login refused
}

func ExampleEnvironmentSecrets() {
	folio := gateway()
	os.Setenv("FOLIO_PASSWORD_DIKU_READER", clienttest.Password)
	session := folio.Session()
	session.Login = client.Password{
		Username: "reader",
		Secrets:  client.EnvironmentSecrets{Prefix: "FOLIO_PASSWORD"},
	}
	_, err := session.Token(context.Background())
	fmt.Println(err)
	// Output: <nil>
}

// The password is in a vault, at secret/data/diku in the field of the user.
func ExampleVaultSecrets() {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"data":{"data":{"reader":%q}}}`, clienttest.Password)
	}))
	defer vault.Close()
	folio := gateway()
	session := folio.Session()
	session.Login = client.Password{
		Username: "reader",
		Secrets: client.VaultSecrets{
			Address: vault.URL, // https://vault.example.org:8200
			Token:   "hvs.…",   // or TokenFile, where an agent writes it
			HTTP:    vault.Client(),
		},
	}
	_, err := session.Token(context.Background())
	fmt.Println(err)
	// Output: <nil>
}

// FOLIO's secure store lets in who shows a certificate.
func ExampleMutualTLS() {
	web, err := client.MutualTLS("edge.crt", "edge.key", "authority.crt")
	if err != nil {
		fmt.Println("there is no such certificate here")
		return
	}
	_ = client.Password{
		Username: "edge",
		Secrets:  client.FOLIOSecrets{Address: "https://secure-store.example.org:8443", HTTP: web},
	}
	// Output: there is no such certificate here
}

// A program that speaks something else than HTTP asks for a token that will do
// for its next minutes, and tells when one was refused.
func ExampleSession_TokenFor() {
	folio := gateway()
	session := folio.Session()
	token, err := session.TokenFor(context.Background(), 2*time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	refused := token == "" // what the other side said
	if refused {
		session.Refused(token)
	}
	fmt.Println(refused)
	// Output: false
}

// A program that acts for no user.
func ExampleClientCredentials() {
	folio := gateway()
	session := folio.Session()
	session.Login = client.ClientCredentials{ClientID: "harvester", ClientSecret: clienttest.ClientSecret}
	answer, err := session.Client().Get(folio.URL + "/orders")
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Println(answer.Status)
	// Output: 200 OK
}

// Whoever has a key needs no session.
func ExampleAPIKey() {
	folio := gateway()
	key := &client.APIKey{
		BaseURL: folio.URL,
		Key:     clienttest.APIKey,      // cfak_…, from the environment or a SecretStore
		Base:    folio.HTTP().Transport, // for the example only
	}
	answer, err := key.Client().Get(folio.URL + "/orders")
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Println(answer.Status)
	// Output: 200 OK
}

// A log-in that this package does not have. Nothing but tokens need come of it.
type partnerKey struct{ key string }

func (p partnerKey) Account() string { return "partner" }

func (p partnerKey) LogIn(ctx context.Context, g *client.Gateway) (*client.Tokens, error) {
	body := map[string]string{"username": "reader", "password": p.key}
	return client.Granted(g.Post(ctx, "/authn/login", body, nil))
}

func ExampleLogin() {
	folio := gateway()
	session := folio.Session()
	session.Login = partnerKey{clienttest.Password}
	_, err := session.Token(context.Background())
	fmt.Println(err)
	// Output: <nil>
}
