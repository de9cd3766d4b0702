package admin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	keys     = "/counterfoil/api-keys"
	keyScope = `"routes":[{"method":"POST","path":"/gobi/orders"}],"permissions":["orders.get","gobi.all"]`
	edgeKey  = "eyJzIjoiblo1NkYzTGVBYVE3clQyeFciLCJ0IjoiZGlrdSIsInUiOiJyZWFkZXIifQ" // of reader of diku
)

// uses is whether a secret opens a key now.
func (w *world) uses(secret string) bool {
	w.t.Helper()
	s, err := apikey.Parse(secret)
	w.must(err)
	found, err := w.sessions.Keys.Find(context.Background(), s)
	if err != nil {
		return false
	}
	_, err = w.sessions.Keys.Check(context.Background(), found)
	return err == nil
}

func TestAPIKeyFromItsBeginningToItsEnd(t *testing.T) {
	w := newWorld(t)
	id := w.reader()
	made := w.call(201, "POST", keys, `{"tenant":"diku","user":"Reader","name":"GOBI",`+keyScope+`,"expiresAt":"2026-04-01T00:00:00Z"}`)
	secret, key := made["secret"].(string), made["id"].(string)
	if made["userId"] != id || made["state"] != "active" || fmt.Sprint(made["lacking"]) != "[gobi.all]" || made["expiresAt"] != "2026-04-01T00:00:00Z" {
		t.Errorf("%v", made)
	}
	if listed := fmt.Sprint(w.call(200, "GET", keys, "")); !strings.Contains(listed, "GOBI") || strings.Contains(listed, "cfak_") || strings.Contains(listed, "lastUsedAt") {
		t.Errorf("%s", listed)
	}
	if !w.uses(secret) {
		t.Error("the new key does not hold")
	}
	w.pass(30 * 24 * time.Hour)
	if !w.uses(secret) {
		t.Error("the day before it expires")
	}
	w.pass(24 * time.Hour)
	if w.uses(secret) {
		t.Error("it outlives its expiry")
	}
	if got := w.call(200, "GET", keys, "")["apiKeys"].([]any)[0].(map[string]any); got["state"] != "expired" || got["lastUsedAt"] == nil {
		t.Errorf("%v", got)
	}
	w.call(200, "PUT", keys+"/"+key, `{`+keyScope+`}`)
	if !w.uses(secret) {
		t.Error("its expiry was taken away")
	}
	rotated := w.call(201, "POST", keys+"/"+key+"/rotate?overlap=1h", "")
	if next := rotated["secret"].(string); next == secret || !w.uses(next) || !w.uses(secret) || rotated["oldSecretUntil"] == nil {
		t.Errorf("%v", rotated)
	}
	got := w.call(200, "POST", keys+"/"+key+"/revoke", "")
	if got["ended"] != 1.0 || w.uses(secret) || w.uses(rotated["secret"].(string)) {
		t.Errorf("%v", got)
	}
	w.call(422, "POST", keys+"/"+key+"/rotate", "")
	w.call(204, "DELETE", keys+"/"+key, "")
	if got := w.call(200, "GET", keys, ""); len(got["apiKeys"].([]any)) != 0 {
		t.Errorf("%v", got)
	}
	told := strings.Join(w.events("diku"), "\n")
	for _, want := range []string{"created", "changed", "rotated", "revoked", "deleted"} {
		if !strings.Contains(told, "api_key_"+want+" by operator test") {
			t.Errorf("%s is not among\n%s", want, told)
		}
	}
}

func TestAKeyWhoseSessionIsEndedWaitsForTheOperator(t *testing.T) {
	w := newWorld(t)
	w.reader()
	w.call(201, "POST", keys+"/import", `{"key":"`+edgeKey+`","name":"EBSCONET","routes":[{"method":"*","path":"/*"}],"permissions":["*"]}`)
	if !w.uses(edgeKey) || !w.uses(edgeKey+"==") {
		t.Error("the imported key does not hold")
	}
	row := w.call(200, "GET", "/counterfoil/sessions?tenant=diku", "")["sessions"].([]any)[0].(map[string]any)
	if row["state"] != "live" || row["username"] != "reader" || row["userAgent"] != "API key EBSCONET" {
		t.Errorf("%v", row)
	}
	w.call(200, "DELETE", "/counterfoil/sessions/"+row["id"].(string), "")
	if w.uses(edgeKey) {
		t.Error("it goes on")
	}
	got := w.call(200, "GET", keys+"?tenant=diku", "")["apiKeys"].([]any)[0].(map[string]any)
	if got["state"] != "stopped" {
		t.Errorf("%v", got)
	}
	w.call(200, "POST", keys+"/"+got["id"].(string)+"/resume", "")
	if !w.uses(edgeKey) {
		t.Error("it was let in again")
	}
	// What ends all sessions of a user ends no key: one key's session does.
	w.must(w.sessions.LogoutUser(context.Background(), "diku", got["userId"].(string)))
	if !w.uses(edgeKey) {
		t.Error("the user's logout has stopped the key")
	}
}

func TestAPIKeysThatCannotBe(t *testing.T) {
	w := newWorld(t)
	w.reader()
	for body, status := range map[string]int{
		`{"tenant":"diku","user":"reader","name":"",` + keyScope + `}`:                                                           422,
		`{"tenant":"diku","user":"reader","name":"x"}`:                                                                           422,
		`{"tenant":"diku","user":"reader","name":"x","routes":[{"method":"GET","path":"x"}],"permissions":["a"]}`:                422,
		`{"tenant":"diku","user":"reader","name":"x","routes":[{"method":"GET","path":"/x"}],"permissions":["a.*"]}`:             422,
		`{"tenant":"diku","user":"reader","name":"x","routes":[{"method":"GET","path":"/x"}],"permissions":["*","a"]}`:           422,
		`{"tenant":"diku","user":"reader","name":"x",` + keyScope + `,"expiresAt":"2026-02-28T00:00:00Z"}`:                       422,
		`{"tenant":"diku","user":"nobody","name":"x",` + keyScope + `}`:                                                          404,
		`{"tenant":"nobody","user":"reader","name":"x",` + keyScope + `}`:                                                        404,
		`{"tenant":"diku","user":"reader","name":"x",` + keyScope + `,"secret":"cfak_0000000000000000000000000000000000000000"}`: 400,
	} {
		w.call(status, "POST", keys, body)
	}
	w.call(422, "POST", keys+"/import", `{"key":"swordfish","name":"x",`+keyScope+`}`)
	w.call(201, "POST", keys+"/import", `{"key":"`+edgeKey+`","name":"x",`+keyScope+`}`)
	w.call(409, "POST", keys+"/import", `{"key":"`+edgeKey+`","name":"y",`+keyScope+`}`)
	for _, do := range []string{"/rotate", "/revoke", "/resume"} {
		w.call(404, "POST", keys+"/nobodys"+do, "")
	}
	w.call(400, "POST", keys+"/nobodys/rotate?overlap=soon", "")
	if w.send("GET", keys, "").Code != 401 {
		t.Error("whoever asks is told")
	}
	_, text, err := w.sessions.Keys.Create(context.Background(), session.NewAPIKey{
		Tenant: "diku", UserID: "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3", Name: "x", Scope: apikey.Scope{Routes: []apikey.Route{{Method: "*", Path: "/*"}}, Permissions: []string{"*"}},
	})
	if err == nil {
		t.Errorf("a key of nobody: %d characters", len(text))
	}
}
