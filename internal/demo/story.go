package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/server"
)

// tellStory prints the main job as commands to copy and paste.
func tellStory(out io.Writer, s *server.Server, data string, accessTTL, grace time.Duration) {
	text := strings.NewReplacer(
		"$GW", s.URL(server.Public), "$ADMIN", s.URL(server.Admin), "$DATA", data,
		"$TTL", accessTTL.String(), "$GRACE", grace.String(), "$HEAL", (3 * grace).String(),
	)
	_, _ = text.WriteString(out, story)
	fmt.Fprintln(out)
}

const story = `
Counterfoil is running with seed data: tenant diku, users diku_admin/admin (all
permissions) and reader/reader (two permissions), two sample modules.
Access tokens live up to $TTL here. Stop with Ctrl-C; the data stays.

  page     $GW/demo/      the same to watch, and to make things go wrong
  public   $GW      login, refresh, gateway
  admin    $ADMIN      management, health, metrics
  console  $ADMIN/console/      see sessions and end them, as operator/operator

1. Log in as a browser does: tokens in HttpOnly cookies, none in the answer.
   curl -s -c jar -H 'X-Okapi-Tenant: diku' -H 'Content-Type: application/json' \
     -d '{"username":"diku_admin","password":"admin"}' $GW/authn/login-with-expiry

2. Call a module through the gateway.
   curl -s -b jar -H 'X-Okapi-Tenant: diku' $GW/orders

3. When the access token has expired, the gateway says so, and where to go.
   curl -si -b jar -H 'X-Okapi-Tenant: diku' $GW/orders      # 401 TOKEN_EXPIRED

4. Refresh. The refresh token works once and is replaced.
   curl -s -b jar -c jar -H 'X-Okapi-Tenant: diku' -X POST $GW/authn/refresh

5. Lose an answer: within $GRACE the old token gives the same successor again.
   cp jar old; curl -s -b jar -o /dev/null -X POST $GW/authn/refresh   # answer lost
   curl -s -b old -c jar -X POST $GW/authn/refresh                     # 201 all the same

6. Log in as a script does: tokens in the body.
   curl -s -H 'X-Okapi-Tenant: diku' -H 'Content-Type: application/json' \
     -d '{"username":"reader","password":"reader"}' $GW/authn/login
   curl -s -H 'Content-Type: application/json' -d '{"refreshToken":"cfrt_…"}' $GW/authn/refresh

7. See what a module gets: a token of its own, with the request's id.
   curl -s -b jar -H 'X-Okapi-Tenant: diku' $GW/echo

8. A slow chain of modules outlives its caller's access token; reader may start
   it, and reaches /echo through it, but not directly.
   curl -s -b jar -H 'X-Okapi-Tenant: diku' "$GW/chain?depth=3&delay=1000"

9. Raise scope for one operation: deleting needs the password again.
   curl -s -b jar -H 'X-Okapi-Tenant: diku' -H 'Content-Type: application/json' \
     -d '{"password":"admin","permissions":["orders.collection.delete"]}' $GW/authn/elevate

10. See the sessions, and what happened to one.
   curl -s -b jar -H 'X-Okapi-Tenant: diku' $GW/authn/sessions
   counterfoil session list --data $DATA

11. Steal a token: use an old refresh token after its owner has moved on. It is
   refused, and unless the owner comes back within $HEAL, the session ends.
   curl -si -b old -X POST $GW/authn/refresh                 # 422, superseded

12. Log out. The access token dies with the session, at once.
   curl -si -b jar -c jar -X POST $GW/authn/logout           # 204

The whole story by itself, each step checked:  counterfoil demo --tour
`
