package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/counterfoil/counterfoil/internal/server"
)

const signingKey = "0123456789abcdef0123456789abcdef"

// The commands of the page are those of the script, in the same order.
func TestMovingOverPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrating-from-mod-authtoken.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/cluster/moving.txtar")
	if err != nil {
		t.Fatal(err)
	}
	rest, found, inShell := string(script), 0, false
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inShell = line == "```sh"
			continue
		}
		if !inShell {
			continue
		}
		at := strings.Index(rest, "\nexec "+line)
		if at < 0 {
			t.Fatalf("the script does not run %q at this place", line)
		}
		rest, found = rest[at+1:], found+1
	}
	if found < 8 {
		t.Errorf("%d commands in the page", found)
	}
}

// modLogin is `modlogin URL schema`, `… password USER PASSWORD`, `… document JSON`
// and `… token|revoked USER NAME VAR`: what FOLIO's modules leave in their tables.
// VAR_ACCESS and VAR_REFRESH become tokens as mod-authtoken writes them.
func modLogin(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, args[0])
	ts.Check(err)
	defer conn.Close(ctx)
	do := func(query string, args ...any) {
		_, err := conn.Exec(ctx, query, args...)
		ts.Check(err)
	}
	document := func(id, text string) {
		do(`INSERT INTO diku_mod_login.auth_credentials (id, jsonb) VALUES ($1, $2)`, id, text)
	}
	switch args[1] {
	case "schema":
		do(`CREATE SCHEMA diku_mod_login; CREATE SCHEMA diku_mod_authtoken;
			CREATE TABLE diku_mod_login.auth_credentials (id uuid PRIMARY KEY, jsonb jsonb NOT NULL, creation_date timestamp, created_by text);
			CREATE TABLE diku_mod_authtoken.refresh_tokens (id uuid PRIMARY KEY, user_id uuid NOT NULL, is_revoked boolean NOT NULL, expires_at int8 NOT NULL)`)
	case "document":
		document(uuid.NewString(), args[2])
	case "password":
		salt := make([]byte, 20)
		_, _ = rand.Read(salt)
		hash, err := pbkdf2.Key(sha1.New, args[3], salt, 1000, 20)
		ts.Check(err)
		do(`DELETE FROM diku_mod_login.auth_credentials WHERE jsonb->>'userId' = $1`, args[2])
		document(uuid.NewString(), fmt.Sprintf(`{"id":%q,"userId":%q,"hash":"%X","salt":"%X","metadata":{}}`, uuid.NewString(), args[2], hash, salt))
	case "token", "revoked":
		now := time.Now()
		id, expires := uuid.NewString(), now.Add(7*24*time.Hour)
		do(`INSERT INTO diku_mod_authtoken.refresh_tokens VALUES ($1, $2, $3, $4)`, id, args[2], args[1] == "revoked", expires.Unix())
		claims := func(kind string, expires time.Time) []byte {
			return fmt.Appendf(nil, `{"type":%q,"exp":%d,"iat":%d,"sub":%q,"user_id":%q,"tenant":"diku","jti":%q,"prn":"refresh"}`,
				kind, expires.Unix(), now.Unix(), args[3], args[2], id)
		}
		encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: []byte(signingKey)}, nil)
		ts.Check(err)
		sealed, err := encrypter.Encrypt(claims("refresh", expires))
		ts.Check(err)
		refresh, err := sealed.CompactSerialize()
		ts.Check(err)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(signingKey)}, nil)
		ts.Check(err)
		signed, err := signer.Sign(claims("access", now.Add(10*time.Minute)))
		ts.Check(err)
		access, err := signed.CompactSerialize()
		ts.Check(err)
		ts.Setenv(args[4]+"_ACCESS", access)
		ts.Setenv(args[4]+"_REFRESH", refresh)
	default:
		ts.Fatalf("modlogin: %s?", args[1])
	}
}

// makeUser is `user DIR TENANT ID NAME`: a user with an id of FOLIO's and no password.
func makeUser(ts *testscript.TestScript, neg bool, args []string) {
	adminCall(ts, args[0], "POST", "/counterfoil/tenants/"+args[1]+"/users",
		fmt.Sprintf(`{"id":%q,"username":%q}`, args[2], args[3]), http.StatusCreated, nil)
}

// countEvents is `events DIR KIND N`.
func countEvents(ts *testscript.TestScript, neg bool, args []string) {
	var got struct{ Events []json.RawMessage }
	adminCall(ts, args[0], "GET", "/counterfoil/events?kind="+url.QueryEscape(args[1]), "", http.StatusOK, &got)
	if strconv.Itoa(len(got.Events)) != args[2] {
		ts.Fatalf("%d events %s, want %s", len(got.Events), args[1], args[2])
	}
}

func adminCall(ts *testscript.TestScript, dir, method, path, body string, want int, out any) {
	running, _, err := server.FindRunning(ts.MkAbs(dir))
	ts.Check(err)
	r, err := http.NewRequest(method, running.Admin+path, strings.NewReader(body))
	ts.Check(err)
	r.Header.Set("Authorization", "Bearer "+running.Token)
	answer, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	if answer.StatusCode != want {
		ts.Fatalf("%s %s answered %d", method, path, answer.StatusCode)
	}
	if out != nil {
		ts.Check(json.NewDecoder(answer.Body).Decode(out))
	}
}
