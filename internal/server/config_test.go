package server

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/session"
)

func environment(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		text, set := variables[name]
		return text, set
	}
}

// load reads a configuration and lists its faults.
func load(t *testing.T, text string, variables map[string]string) (*Config, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path, environment(variables))
	if err == nil {
		return c, nil
	}
	return c, strings.Split(strings.ReplaceAll(err.Error(), path, "c.yaml"), "\n")
}

func TestAnEmptyConfigurationIsAllDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing yet\n", "---\n", "{}\n"} {
		c, faults := load(t, text, nil)
		if faults != nil {
			t.Fatalf("%q: %q", text, faults)
		}
		for _, one := range []struct{ name, got, want string }{
			{"data", c.Data, "data"},
			{"store", c.Store, "sqlite:data/counterfoil.db"},
			{"listen", c.Listen, "127.0.0.1:9130"},
			{"internal_listen", c.InternalListen, "127.0.0.1:9131"},
			{"admin_listen", c.AdminListen, "127.0.0.1:9132"},
			{"same_site", c.Cookies.SameSite, "Lax"},
			{"master_key_file", c.MasterKeyFile, "data/master.key"},
			{"upstream.timeout", c.Upstream.Timeout.Std().String(), "10m0s"},
			{"keep_ended", c.KeepEnded.Std().String(), "720h0m0s"},
			{"drain", c.Drain.Std().String(), "30s"},
		} {
			if one.got != one.want {
				t.Errorf("%s is %s, want %s", one.name, one.got, one.want)
			}
		}
		if diff := cmp.Diff(session.DefaultPolicy(), c.Policy.Apply(session.DefaultPolicy())); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	_, faults := load(t, `store: postgres://x
listen: 9130
internal_listen: localhost:x
admin_listen: 127.0.0.1:70000
public_url: folio.example.org
internal_url: https://u:p@x/?q
tls: {cert: a.pem}
trusted_proxies: [10.0.0.0/33, proxy.local]
cors:
  origins: ["https://ui.example.org/", "https://*.example.org", ui.example.org]
cookies: {same_site: lax, insecure: maybe}
log: {level: loud, format: xml}
login: {min_password: 3, deactivate_after: -1, reset_url: ui.example.org, forgot_url: "https://x/?y", reset_ttl: 2d, log_events: [LOGIN]}
errors: {profile: folio, tenants: {diku: okapi, cph: kong}}
verified_tokens: -2
drain: -1s
policy: {access_ttl: 30s}
tenants:
  diku: {jitter: 2}
  cph: {jitter: 2}
nonsense: 1
`, map[string]string{"LOGIN_COOKIE_SAMESITE": "none", "EUREKA_LOGIN_PERMS": "maybe", "COUNTERFOIL_MASTER_KEY": "short"})
	want := []string{
		`c.yaml: line 21: unknown key nonsense`,
		"c.yaml: line 11: cannot unmarshal !!str `maybe` into bool",
		`COUNTERFOIL_MASTER_KEY: `, `LOGIN_COOKIE_SAMESITE: must be Strict, Lax or None`, `EUREKA_LOGIN_PERMS: must be true or false`,
		`store: is not postgres://`, `listen: "9130"`, `internal_listen: "localhost:x"`, `admin_listen: "127.0.0.1:70000"`,
		`public_url: "folio.example.org"`, `internal_url: "https://u:p@x/?q"`, `tls: cert and key belong together`,
		`trusted_proxies: "10.0.0.0/33"`, `trusted_proxies: "proxy.local"`,
		`cors.origins: "https://ui.example.org/"`, `cors.origins: "https://*.example.org"`, `cors.origins: "ui.example.org"`,
		`cookies.same_site: "lax"`, `log.level: "loud"`, `log.format: "xml"`, `login.min_password: 3`,
		`login.reset_url: "ui.example.org"`, `login.forgot_url: "https://x/?y"`, `login.reset_ttl: 48h0m0s is not between 1m and 24h`, `login.log_events: "LOGIN"`, `login.deactivate_after: `,
		`verified_tokens: -2`, `upstream.timeout, keep_ended and drain `,
		`errors.profile: "folio" is not counterfoil, okapi or eureka`, `errors.tenants.cph: "kong" is not`,
		`policy.grace: 10s: the floor`, `policy.grace: 10s: 2 × grace`,
		`tenants.cph.jitter: 2`, `tenants.diku.jitter: 2`,
	}
	for i := range max(len(want), len(faults)) {
		switch {
		case i >= len(faults):
			t.Errorf("not told: %s", want[i])
		case i >= len(want):
			t.Errorf("not expected: %s", faults[i])
		case !strings.HasPrefix(faults[i], want[i]):
			t.Errorf("fault %d is %q, want %q", i, faults[i], want[i])
		}
	}
}

func TestFaultsOfTheFileNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"data: a\ndata: b\n":                                     `c.yaml: line 2: mapping key "data" already defined at line 1`,
		"policy:\n  idle: 7 days\n":                              `c.yaml: line 2: policy.idle: "7 days" is not a duration such as 90s, 10m, 12h or 7d`,
		"policy:\n  idle: 600\n":                                 `c.yaml: line 2: policy.idle: "600" is not a duration such as 90s, 10m, 12h or 7d`,
		"upstream: {timeout: soon}\n":                            `c.yaml: line 1: upstream.timeout: "soon" is not a duration such as 90s, 10m, 12h or 7d`,
		"tenants:\n  diku:\n    idel: 1d\n":                      `c.yaml: line 3: unknown key tenants.diku.idel`,
		"x: &x {idel: 1d}\n":                                     `c.yaml: line 1: unknown key x`,
		"policy: &p {idel: 1d}\n":                                `c.yaml: line 1: unknown key policy.idel`,
		"cors:\n  origins: https://a.org\n":                      "c.yaml: line 2: cannot unmarshal !!str `https:/...` into []string",
		"policy: [1]\n":                                          "c.yaml: line 1: cannot unmarshal !!seq into session.PolicyPatch",
		"just text\n":                                            "c.yaml: line 1: cannot unmarshal !!str `just text` into server.Config",
		"demo: true\n":                                           `c.yaml: line 1: unknown key demo`,
		"masterkey: x\n":                                         `c.yaml: line 1: unknown key masterkey`,
		"\"-\": x\n":                                             `c.yaml: line 1: unknown key -`,
		"data: a\n---\ndata: b\n":                                `c.yaml: line 1: a second document follows, which would be ignored`,
		"internal_listen: :9131\n":                               `internal_url: must be set, since modules cannot call back to internal_listen ":9131"`,
		"internal_listen: '[::]:9131'\n":                         `internal_url: must be set, since modules cannot call back to internal_listen "[::]:9131"`,
		"cookies: {insecure: true, same_site: None}":             `cookies.insecure: not with same_site None, browsers drop such cookies`,
		"cookies: {insecure: true}\npublic_url: https://a.org\n": `cookies.insecure: not with a public_url that is https`,
		"store: 'sqlite:'\n":                                     `store: must be sqlite:PATH or postgres://USER@HOST:PORT/DATABASE`,
		"store: postgres://u:secret@h/db\n":                      `store: holds a password; put it into postgres.password_file or DB_PASSWORD`,
		"store: postgres://u@h/db?password=secret\n":             `store: holds a password; put it into postgres.password_file or DB_PASSWORD`,
		"store: postgres://u@h/db\npostgres: {connections: -1}":  `postgres.connections: -1 is not between 1 and 1000`,
		"store: postgres://u@h/db\ntrust_memory: 1h":             `trust_memory: 1h0m0s is not between 1s and 10m`,
		"store: postgres://u@h/db\npostgres: {listen: x}":        `postgres.listen: is not postgres://USER@HOST:PORT/DATABASE`,
		"postgres: {password: x}\n":                              `c.yaml: line 1: unknown key postgres.password`,
	} {
		if _, faults := load(t, text, nil); len(faults) != 1 || faults[0] != want {
			t.Errorf("%q has the faults %q, want %q", text, faults, want)
		}
	}
}

func TestDurationsMayBeGivenInDays(t *testing.T) {
	c, faults := load(t, "policy: {idle: 1d12h, absolute: 20d}\nkeep_ended: 90d\ntenants: {diku: {idle: 2d}}\n", nil)
	if faults != nil {
		t.Fatal(faults)
	}
	if got := c.Policy.Apply(session.DefaultPolicy()); got.Idle != 36*time.Hour || got.Absolute != 480*time.Hour {
		t.Errorf("idle %s, absolute %s", got.Idle, got.Absolute)
	}
	if c.KeepEnded.Std() != 2160*time.Hour || c.Tenants["diku"].Idle.Std() != 48*time.Hour {
		t.Errorf("keep_ended %s, idle of diku %s", c.KeepEnded.Std(), c.Tenants["diku"].Idle.Std())
	}
}

func TestSetDataMovesWhatLiesInTheDirectory(t *testing.T) {
	c, _ := load(t, "", nil)
	c.SetData("/srv/other")
	if c.Data != "/srv/other" || c.Store != "sqlite:/srv/other/counterfoil.db" || c.MasterKeyFile != "/srv/other/master.key" {
		t.Errorf("%s, %s, %s", c.Data, c.Store, c.MasterKeyFile)
	}
	c, _ = load(t, "store: sqlite:/db/x.db\nmaster_key_file: /secrets/master\n", nil)
	c.SetData("/srv/other")
	if c.Store != "sqlite:/db/x.db" || c.MasterKeyFile != "/secrets/master" {
		t.Errorf("what was named moved, too: %s, %s", c.Store, c.MasterKeyFile)
	}
}

func TestEnvironmentWinsOverTheFile(t *testing.T) {
	c, faults := load(t, "data: a\nlisten: 127.0.0.1:1\ncookies: {same_site: Strict}\npolicy: {access_ttl: 20m}\n", map[string]string{
		"COUNTERFOIL_DATA": "b", "COUNTERFOIL_LISTEN": "127.0.0.1:2", "COUNTERFOIL_INTERNAL_LISTEN": "127.0.0.1:3",
		"COUNTERFOIL_ADMIN_LISTEN": "", "LOGIN_COOKIE_SAMESITE": "None", "EUREKA_LOGIN_PERMS": "true", "TOKEN_EXPIRATION_SECONDS": "accessToken:900",
		"COUNTERFOIL_MASTER_KEY": "7b1f0c9a5ce2d3847b1f0c9a5ce2d3847b1f0c9a5ce2d3847b1f0c9a5ce2d384",
	})
	if faults != nil {
		t.Fatal(faults)
	}
	if c.Data != "b" || c.Store != "sqlite:b/counterfoil.db" || c.Listen != "127.0.0.1:2" || c.InternalListen != "127.0.0.1:3" ||
		c.AdminListen != "127.0.0.1:9132" || c.Cookies.SameSite != "None" || !c.Login.EurekaPermissions || len(c.MasterKey) != 32 {
		t.Errorf("%+v", c)
	}
	if got := c.Policy.AccessTTL.Std(); got != 15*time.Minute {
		t.Errorf("access_ttl is %s", got)
	}
}

func TestTheDatabaseOfFOLIOsVariablesIsTheStore(t *testing.T) {
	pem := filepath.Join(t.TempDir(), "server.pem")
	if err := os.WriteFile(pem, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		file      string
		variables map[string]string
		store     string
		url       string
	}{
		{"", map[string]string{"DB_HOST": "pg"}, "postgres://root@pg:5432/db", "postgres://root@pg:5432/db"},
		{
			"store: sqlite:x.db\n",
			map[string]string{
				"DB_HOST": "::1", "DB_PORT": "6543", "DB_USERNAME": "folio admin", "DB_DATABASE": "okapi_modules", "DB_PASSWORD": "a/b:c@d", "DB_MAXPOOLSIZE": "7",
			},
			"postgres://folio%20admin@[::1]:6543/okapi_modules", "postgres://folio%20admin:a%2Fb%3Ac%40d@[::1]:6543/okapi_modules",
		},
		{
			"store: postgres://u@h/db?sslmode=require\npostgres: {server_pem: " + pem + "}\n",
			map[string]string{"DB_PASSWORD": "p"},
			"postgres://u@h/db?sslmode=require", "postgres://u:p@h/db?sslmode=verify-full&sslrootcert=" + url.QueryEscape(pem),
		},
		{"", map[string]string{"DB_PASSWORD": "p", "DB_PORT": "1"}, "sqlite:data/counterfoil.db", ""},
	} {
		c, faults := load(t, test.file, test.variables)
		if faults != nil || c.Store != test.store {
			t.Errorf("%v: store %q, faults %q, want %q", test.variables, c.Store, faults, test.store)
			continue
		}
		if test.url == "" {
			continue
		}
		if got, err := c.databaseURL(c.Store); err != nil || got != test.url {
			t.Errorf("%v: %q, %v, want %q", test.variables, got, err, test.url)
		}
	}
	if _, faults := load(t, "", map[string]string{"DB_HOST": "pg", "DB_MAXPOOLSIZE": "many"}); len(faults) != 1 {
		t.Errorf("faults %q", faults)
	}
}

func TestFolioTokenExpiration(t *testing.T) {
	type lives struct{ access, idle, absolute, grace time.Duration }
	const day = 24 * time.Hour
	standard := lives{10 * time.Minute, 7 * day, 24 * day, 10 * time.Second}
	for text, want := range map[string]struct{ diku, others lives }{
		"accessToken:600,refreshToken:604800": {standard, standard},
		"accessToken:3600,refreshToken:86400;tenantId:diku,accessToken:300,refreshToken:1200": {
			lives{5 * time.Minute, 20 * time.Minute, 24 * day, 10 * time.Second}, lives{time.Hour, day, 24 * day, 10 * time.Second},
		},
		// In whatever order, and with the hard defaults for what is not said.
		"tenantId:diku,refreshToken:1200 ; accessToken: 3600": {
			lives{10 * time.Minute, 20 * time.Minute, 24 * day, 10 * time.Second}, lives{time.Hour, 7 * day, 24 * day, 10 * time.Second},
		},
		"tenantId:diku,accessToken:0,refreshToken:-1;": {standard, standard},
		// The later entry holds.
		"accessToken:3600;accessToken:600": {standard, standard},
		// Grace shrinks with the access token, for a tenant as for all.
		"accessToken:60": {
			lives{time.Minute, 7 * day, 24 * day, 2900 * time.Millisecond}, lives{time.Minute, 7 * day, 24 * day, 2900 * time.Millisecond},
		},
		"accessToken:600;tenantId:diku,accessToken:60": {lives{time.Minute, 7 * day, 24 * day, 2900 * time.Millisecond}, standard},
		"accessToken:60;tenantId:diku,accessToken:600": {standard, lives{time.Minute, 7 * day, 24 * day, 2900 * time.Millisecond}},
		// A refresh token that lives longer than a session takes the session along.
		"refreshToken:3456000": {lives{10 * time.Minute, 40 * day, 40 * day, 10 * time.Second}, lives{10 * time.Minute, 40 * day, 40 * day, 10 * time.Second}},
	} {
		c, faults := load(t, "", map[string]string{"TOKEN_EXPIRATION_SECONDS": text})
		if faults != nil {
			t.Errorf("%q: %q", text, faults)
			continue
		}
		others := c.Policy.Apply(session.DefaultPolicy())
		diku := c.Tenants["diku"].Apply(others)
		for name, one := range map[string]struct {
			got  session.Policy
			want lives
		}{"diku": {diku, want.diku}, "others": {others, want.others}} {
			if got := (lives{one.got.AccessTTL, one.got.Idle, one.got.Absolute, one.got.Grace}); got != one.want {
				t.Errorf("%q gives %s %v, want %v", text, name, got, one.want)
			}
		}
	}
	c, faults := load(t, "policy: {grace: 2s}\n", map[string]string{"TOKEN_EXPIRATION_SECONDS": "accessToken:600;tenantId:diku,accessToken:120"})
	if faults != nil || c.Tenants["diku"].Grace != nil || c.Policy.Grace.Std() != 2*time.Second {
		t.Errorf("the operator's grace was changed: %v %v", faults, c.Policy.Grace)
	}
}

func TestT63MasterKeysThatAnybodyKnowsAreRefused(t *testing.T) {
	for _, text := range []string{"", " ", "changeme", "secret", strings.Repeat("0", 64), strings.Repeat("ab", 32), strings.Repeat("A", 43), "swordfish-swordfish-swordfish-32"} {
		_, faults := load(t, "", map[string]string{"COUNTERFOIL_MASTER_KEY": text})
		if len(faults) != 1 || !strings.HasPrefix(faults[0], "COUNTERFOIL_MASTER_KEY: ") || strings.Contains(faults[0], "swordfish") {
			t.Errorf("%q: %q", text, faults)
		}
	}
}

func TestReferenceHasEverySetting(t *testing.T) {
	text := Reference()
	for _, key := range []string{
		"| `listen` | `127.0.0.1:9130` |", "| `tls.cert` |", "| `cookies.same_site` | `Lax` |", "| `keep_ended` | `30d` |",
		"| `access_ttl` | `10m0s` |", "| `binding` | `off` |", "TOKEN_EXPIRATION_SECONDS",
	} {
		if !strings.Contains(text, key) {
			t.Errorf("%s is missing", key)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "|") && strings.HasSuffix(line, "|  |\n") {
			t.Errorf("not explained: %s", line)
		}
	}
}
