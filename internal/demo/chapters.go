package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

func (t *tour) logIn(ctx context.Context) error {
	for _, who := range []struct {
		name, password string
		jar            browser
	}{{"diku_admin", "admin", t.admin}, {"reader", "reader", t.reader}} {
		t.tell("%s logs in as a browser does: tokens in HttpOnly cookies only", who.name)
		got, err := t.do(ctx, call{method: "POST", path: "/authn/login-with-expiry", body: map[string]string{"username": who.name, "password": who.password}})
		if err != nil {
			return err
		}
		who.jar.keep(got)
		t.check(got.status == http.StatusCreated && who.jar["folioAccessToken"] != "" && who.jar["folioRefreshToken"] != "", "201 with both cookies")
		t.check(!got.contains("eyJ") && !got.contains("cfrt_"), "no token in the body")
	}
	t.tell("a wrong password and an unknown user are refused alike")
	wrong, err := t.do(ctx, call{method: "POST", path: "/authn/login-with-expiry", body: map[string]string{"username": "reader", "password": "wrong"}})
	if err != nil {
		return err
	}
	unknown, err := t.do(ctx, call{method: "POST", path: "/authn/login-with-expiry", body: map[string]string{"username": "nobody", "password": "wrong"}})
	if err != nil {
		return err
	}
	t.check(wrong.status == http.StatusUnprocessableEntity && string(wrong.body) == string(unknown.body), "422, the same body")
	return nil
}

func (t *tour) callModules(ctx context.Context) error {
	t.tell("a module answers through the gateway")
	got, err := t.do(ctx, call{method: "GET", path: "/orders", cookies: t.reader})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusOK, "200")
	t.tell("what a user was not given is refused, in FOLIO's words")
	got, err = t.do(ctx, call{method: "GET", path: "/echo", cookies: t.reader})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusForbidden && got.contains("requires permission: echo.get"), "403 names the permission")
	t.tell("headers that only the gateway may set do not pass from outside, in any spelling")
	got, err = t.do(ctx, call{method: "GET", path: "/echo", cookies: t.admin, header: map[string]string{
		"X-Okapi-Permissions": `["evil.all"]`, "X_Okapi_User_Id": "evil", "X-Okapi-Module-Tokens": "evil", "Connection": "X-Okapi-Tenant",
	}})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusOK && !got.contains("evil"), "200, nothing forged arrived")
	t.check(got.field("x-okapi-tenant") == tenant, "the tenant header could not be stripped either")
	t.check(!got.contains("folioAccessToken") && !got.contains("folioRefreshToken"), "the module saw none of our cookies")
	return nil
}

func (t *tour) expire(ctx context.Context) error {
	t.tell("the access token expires after up to %s, and the gateway says so", t.accessTTL)
	if err := wait(ctx, t.accessTTL); err != nil {
		return err
	}
	got, err := t.do(ctx, call{method: "GET", path: "/orders", cookies: t.reader})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnauthorized && got.field("code") == "TOKEN_EXPIRED" && got.field("refresh") == "/authn/refresh", "401 TOKEN_EXPIRED with the way to refresh")
	t.tell("a refresh replaces both tokens")
	before := t.reader["folioRefreshToken"]
	if got, err = t.refresh(ctx, t.reader); err != nil {
		return err
	}
	t.check(got.status == http.StatusCreated && t.reader["folioRefreshToken"] != before, "201 and another refresh token")
	t.tell("and the call goes through")
	if got, err = t.do(ctx, call{method: "GET", path: "/orders", cookies: t.reader}); err != nil {
		return err
	}
	t.check(got.status == http.StatusOK, "200")
	return nil
}

func (t *tour) refresh(ctx context.Context, jar browser) (reply, error) {
	got, err := t.do(ctx, call{method: "POST", path: "/authn/refresh", cookies: jar})
	if err == nil {
		jar.keep(got)
	}
	return got, err
}

func (t *tour) loseAnswer(ctx context.Context) error {
	t.tell("an answer is lost: the client comes back with its old refresh token")
	old := t.admin.copy()
	lost, err := t.do(ctx, call{method: "POST", path: "/authn/refresh", cookies: t.admin})
	if err != nil {
		return err
	}
	got, err := t.refresh(ctx, old)
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusCreated && got.cookies["folioRefreshToken"] == lost.cookies["folioRefreshToken"], "201 and the very same successor")
	t.admin.keep(got)
	return nil
}

func (t *tour) openTabs(ctx context.Context) error {
	t.tell("five tabs refresh at once with one cookie jar")
	if err := wait(ctx, 2*t.grace); err != nil { // past the floor: the next refresh rotates
		return err
	}
	var group sync.WaitGroup
	replies := make([]reply, 5)
	faults := make([]error, 5)
	quiet := *t
	quiet.out = io.Discard // five talking at once would not be readable
	for i := range replies {
		group.Go(func() {
			replies[i], faults[i] = quiet.do(ctx, call{method: "POST", path: "/authn/refresh", cookies: t.admin, header: map[string]string{"Sec-Fetch-Site": "same-origin"}})
		})
	}
	group.Wait()
	all, tokens := true, []string{}
	for i, got := range replies {
		if faults[i] != nil {
			return faults[i]
		}
		all = all && got.status == http.StatusCreated
		if token := got.cookies["folioRefreshToken"]; token != "" {
			tokens = append(tokens, token)
		}
	}
	fmt.Fprintf(t.out, "    → 5 × POST /authn/refresh\n    ← 5 answers, %d of them with a refresh cookie\n", len(tokens))
	t.check(all, "all five answered 201")
	t.check(oneValue(tokens), "one successor for all")
	for _, got := range replies {
		t.admin.keep(got)
	}
	return nil
}

func (t *tour) chainModules(ctx context.Context) error {
	t.tell("reader starts a chain of slow modules that outlives the access token")
	if _, err := t.refresh(ctx, t.reader); err != nil {
		return err
	}
	delay := t.accessTTL / 2
	started := time.Now()
	got, err := t.do(ctx, call{method: "GET", path: fmt.Sprintf("/chain?depth=2&delay=%d", delay.Milliseconds()), cookies: t.reader})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusOK && time.Since(started) > t.accessTTL, "200 after %s, longer than the token lives", time.Since(started).Round(100*time.Millisecond))
	ids := strings.Count(got.field("x-okapi-request-id"), ";") + 1
	t.check(ids == 4, "the request id shows the whole tree: %s", got.field("x-okapi-request-id"))
	return nil
}

func (t *tour) leakModuleToken(ctx context.Context) error {
	t.tell("a module's token leaks: it is worth nothing outside")
	if _, err := t.refresh(ctx, t.admin); err != nil {
		return err
	}
	got, err := t.do(ctx, call{method: "GET", path: "/echo", cookies: t.admin})
	if err != nil {
		return err
	}
	leaked := got.field("x-okapi-token")
	outside, err := t.do(ctx, call{method: "GET", path: "/orders", header: map[string]string{"X-Okapi-Token": leaked}})
	if err != nil {
		return err
	}
	t.check(leaked != "" && outside.status == http.StatusUnauthorized, "401 on the public listener")
	return nil
}

func (t *tour) raiseScope(ctx context.Context) error {
	t.tell("deleting orders needs raised scope, even for the administrator")
	got, err := t.do(ctx, call{method: "DELETE", path: "/orders", cookies: t.admin})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusForbidden, "403 with the ordinary token")
	got, err = t.do(ctx, call{method: "POST", path: "/authn/elevate", cookies: t.admin, body: map[string]any{"password": "admin", "permissions": []string{"orders.collection.delete"}}})
	if err != nil {
		return err
	}
	raised := got.field("accessToken")
	t.check(got.status == http.StatusCreated && raised != "", "201 with a token of five minutes at most")
	got, err = t.do(ctx, call{method: "DELETE", path: "/orders", header: map[string]string{"X-Okapi-Token": raised}})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusNoContent, "204 with the raised one")
	return nil
}

func (t *tour) runScript(ctx context.Context) error {
	t.tell("a script logs in: tokens in the body, the access token expires like any other")
	got, err := t.do(ctx, call{method: "POST", path: "/authn/login", body: map[string]string{"username": "reader", "password": "reader"}})
	if err != nil {
		return err
	}
	t.script.access, t.script.refresh = got.field("accessToken"), got.field("refreshToken")
	t.check(got.status == http.StatusCreated && t.script.access == got.header.Get("X-Okapi-Token") && t.script.refresh != "", "201, tokens in body and header")
	t.tell("and refreshes with {\"refreshToken\":\"…\"}")
	got, err = t.do(ctx, call{method: "POST", path: "/authn/refresh", body: map[string]string{"refreshToken": t.script.refresh}})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusCreated && got.field("accessToken") != "" && got.field("refreshToken") != t.script.refresh, "201 with two new tokens")
	t.script.access, t.script.refresh = got.field("accessToken"), got.field("refreshToken")
	return nil
}

func (t *tour) revoke(ctx context.Context) error {
	t.tell("the administrator sees all sessions that live")
	if _, err := t.refresh(ctx, t.admin); err != nil {
		return err
	}
	got, err := t.do(ctx, call{method: "GET", path: "/authn/sessions?live=true", cookies: t.admin})
	if err != nil {
		return err
	}
	var page struct {
		Sessions []struct{ ID, Username, Client string } `json:"sessions"`
	}
	_ = json.Unmarshal(got.body, &page)
	// Newest first, and the data may hold sessions of another day.
	newest := map[string]string{}
	for _, one := range page.Sessions {
		if who := one.Username + " " + one.Client; newest[who] == "" {
			newest[who] = one.ID
		}
	}
	id := newest["reader folio-api"]
	t.check(got.status == http.StatusOK && id != "" && newest["reader folio-web"] != "" && newest["diku_admin folio-web"] != "",
		"200 with the sessions of both browsers and of the script")
	t.tell("and ends the script's: its access token is refused on the next request")
	got, err = t.do(ctx, call{method: "DELETE", path: "/authn/sessions/" + id, cookies: t.admin})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusNoContent, "204")
	got, err = t.do(ctx, call{method: "GET", path: "/orders", header: map[string]string{"X-Okapi-Token": t.script.access}})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnauthorized, "401 for the access token")
	got, err = t.do(ctx, call{method: "POST", path: "/authn/refresh", body: map[string]string{"refreshToken": t.script.refresh}})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnprocessableEntity, "422 for the refresh token")
	t.tell("its timeline says why")
	got, err = t.do(ctx, call{method: "GET", path: "/authn/sessions/" + id + "/events", cookies: t.admin})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusOK && got.contains("session_revoked") && got.contains("diku_admin"), "200, revoked by diku_admin")
	return nil
}

func (t *tour) steal(ctx context.Context) error {
	t.tell("a thief has copied reader's jar, and reader moves on")
	stolen := t.reader.copy()
	for range 2 {
		if err := wait(ctx, 2*t.grace); err != nil {
			return err
		}
		if _, err := t.refresh(ctx, t.reader); err != nil {
			return err
		}
	}
	t.tell("the thief's refresh token is superseded")
	got, err := t.refresh(ctx, stolen)
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnprocessableEntity && got.contains("superseded") && got.cookies["folioRefreshToken"] == "", "422, nothing given")
	t.tell("nobody comes back with proof within %s: the session ends, the access token with it", 3*t.grace)
	if err := wait(ctx, 3*t.grace+t.grace/2); err != nil {
		return err
	}
	got, err = t.do(ctx, call{method: "GET", path: "/orders", cookies: t.reader})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnauthorized && got.field("code") == "TOKEN_INVALID", "401 at the gateway")
	got, err = t.refresh(ctx, t.reader)
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnprocessableEntity && t.reader["folioRefreshToken"] == "", "422, cookies cleared: log in anew")
	return nil
}

func (t *tour) logOut(ctx context.Context) error {
	t.tell("the administrator logs out")
	if _, err := t.refresh(ctx, t.admin); err != nil {
		return err
	}
	kept := t.admin.copy()
	got, err := t.do(ctx, call{method: "POST", path: "/authn/logout", cookies: t.admin})
	if err != nil {
		return err
	}
	t.admin.keep(got)
	t.check(got.status == http.StatusNoContent && len(t.admin) == 0, "204, cookies cleared")
	got, err = t.do(ctx, call{method: "GET", path: "/orders", cookies: kept})
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnauthorized, "401 for the access token, at once")
	got, err = t.refresh(ctx, kept)
	if err != nil {
		return err
	}
	t.check(got.status == http.StatusUnprocessableEntity, "422 for the refresh token")
	return nil
}
