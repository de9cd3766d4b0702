package server

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
)

// Reference writes all settings as Markdown, from the code that reads them.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	b.WriteString("\n| key | default | meaning |\n| --- | --- | --- |\n")
	describe(&b, reflect.TypeFor[Config](), "")
	b.WriteString(referencePolicy)
	base := session.DefaultPolicy()
	defaults := reflect.ValueOf(base)
	patch := reflect.TypeFor[session.PolicyPatch]()
	for i := range patch.NumField() {
		field := patch.Field(i)
		fmt.Fprintf(&b, "| `%s` | `%v` | %s |\n", field.Tag.Get("yaml"), defaults.FieldByName(field.Name).Interface(), policyMeaning[field.Tag.Get("yaml")])
	}
	b.WriteString(referenceEnvironment)
	return b.String()
}

func describe(b *strings.Builder, t reflect.Type, prefix string) {
	for i := range t.NumField() {
		field := t.Field(i)
		key := field.Tag.Get("yaml")
		switch doc := field.Tag.Get("doc"); {
		case key == "-", !field.IsExported():
		case doc == "" && field.Type.Kind() == reflect.Struct:
			describe(b, field.Type, prefix+key+".")
		default:
			standard := field.Tag.Get("default")
			if standard != "" {
				standard = "`" + standard + "`"
			}
			fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", prefix, key, standard, doc)
		}
	}
}

const referenceHead = `# Configuration

This page is generated: ` + "`counterfoil config reference`" + `. The file is YAML; unknown keys are
faults, and ` + "`counterfoil config check --config FILE`" + ` reports all faults at once.
Durations are written ` + "`90s`, `10m`, `12h` or `7d`" + `. In the defaults, ` + "`{data}`" + ` stands
for the data directory.
`

const referencePolicy = `
## Policy

Under ` + "`policy`" + ` for all tenants, and under ` + "`tenants.ID`" + ` for one. The
[policy guide](policy.md) explains the refresh rule, and which values go together.

| key | default | meaning |
| --- | --- | --- |
`

var policyMeaning = map[string]string{
	"access_ttl":        "lifetime of an access token, before jitter",
	"jitter":            "largest part of it that is cut at random, 0 to 0.5",
	"idle":              "a session that nobody refreshes for so long ends",
	"absolute":          "a session ends so long after its login, however busy; fixed at login",
	"grace":             "W: how long a replaced refresh token may come back; 0s is FOLIO-exact",
	"late_budget":       "B: how often in 24 hours an answer that was lost longer ago is given again",
	"strict":            "end the session when any older refresh token is presented",
	"end_user":          "reuse ends all sessions of the user, as FOLIO does",
	"binding":           "what a refresh must have in common with the login: off, subnet or device",
	"sessions_per_user": "at one more, the longest idle session ends",
	"elevated_ttl":      "lifetime of raised scope, 5m at most",
	"module_ttl":        "lifetime of the token that a module gets for a request",
	"signing":           "algorithm of access tokens: EdDSA, ES256 or RS256, see [keys](running.md#keys)",
	"proof_nonce":       "DPoP proofs must carry a nonce of ours, see [proof of possession](dpop.md)",
	"bound_grace":       "W of sessions that are bound to a key, if it is longer than `grace`",
	"bound_late_budget": "B of sessions that are bound to a key, if it is more than `late_budget`",
	"bound_keep":        "sessions that are bound to a key keep their refresh token",
	"step_up":           "permissions that need a fresh proof, see [raised scope](elevation.md): `orders.item.delete: {max_age: 5m}`",
}

const referenceEnvironment = `
## Environment

| variable | meaning |
| --- | --- |
| ` + "`COUNTERFOIL_MASTER_KEY`" + ` | the master key itself, 32 bytes in base64 or hex, instead of ` + "`master_key_file`" + ` |
| ` + "`COUNTERFOIL_DATA`" + `, ` + "`COUNTERFOIL_LISTEN`" + `, ` + "`COUNTERFOIL_INTERNAL_LISTEN`" + `, ` + "`COUNTERFOIL_ADMIN_LISTEN`" + ` | instead of ` + "`data`, `listen`, `internal_listen`, `admin_listen`" + ` |
| ` + "`DB_HOST`, `DB_PORT`, `DB_USERNAME`, `DB_DATABASE`" + ` | as FOLIO's storage modules read them; with ` + "`DB_HOST`" + ` set, they are the ` + "`store`" + `. Defaults 5432, root, db |
| ` + "`DB_PASSWORD`, `DB_SERVER_PEM`, `DB_MAXPOOLSIZE`" + ` | password, certificates of the server as PEM text, and how many connections in all |
| ` + "`TOKEN_EXPIRATION_SECONDS`" + ` | as mod-authtoken reads it: ` + "`accessToken:600,refreshToken:604800;tenantId:diku,accessToken:300`" + `. refreshToken is the idle lifetime; where no grace is set, it shrinks with the access token |
| ` + "`LEGACY_TOKEN_TENANTS`" + ` | unset or empty: no tenant gets tokens that never expire. A list is ` + "`mod_authtoken.legacy_tenants` and needs `mod_authtoken.legacy_until`; `*`" + ` is refused |
| ` + "`LOGIN_COOKIE_SAMESITE`" + ` | Strict, Lax or None, as mod-login reads it |
| ` + "`EUREKA_LOGIN_PERMS`" + ` | true or false, as mod-users-bl reads it; unset is false here |
`
