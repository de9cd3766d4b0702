package server

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Config is everything an operator can set. The zero value of each field means
// its default; Check says what cannot work.
type Config struct {
	// Data is the directory of the database, the master key and the admin
	// token. It is created, readable by its owner alone.
	Data string `yaml:"data" default:"data" doc:"directory of the database, the master key and the admin token; created with mode 0700"`
	// Mode is how requests come in.
	Mode string `yaml:"mode" default:"gateway" doc:"gateway: Counterfoil routes to modules. okapi-module: an Okapi does, and asks Counterfoil as its auth filter and login module, see [behind Okapi](behind-okapi.md)"`
	// Okapi is for mode okapi-module.
	Okapi struct {
		URL      string   `yaml:"url" doc:"in mode okapi-module: where Okapi is, with path prefix if there is one, such as http://10.0.0.5:9130. Counterfoil asks there for parts of users at a login, has notifications sent, and asks for users and permissions with directory.source folio. Empty: the first two are left out. X-Okapi-Url of requests is never followed"`
		Networks []string `yaml:"networks" doc:"in mode okapi-module: networks from which Okapi calls. Whoever may call has tokens minted with any permission, so there is no default, unless listen is on loopback"`
		Prompt   bool     `yaml:"prompt" default:"false" doc:"in mode okapi-module: leave the caller's own token out of the filter's answer, so that Okapi does not remember it. Logout, expiry and revocation then have effect at once on routes that lend their module nothing, at the price of one filter call for each request"`
	} `yaml:"okapi"`
	// Store is where sessions are kept.
	Store string `yaml:"store" default:"sqlite:{data}/counterfoil.db" doc:"where sessions are kept: sqlite:PATH for one node, postgres://USER@HOST:PORT/DATABASE for many"`
	// Postgres is what the URL does not say.
	Postgres PostgresSettings `yaml:"postgres"`
	// Node is what operators call this process among the nodes of a database.
	Node string `yaml:"node" doc:"name of this node among those of one database; default is the host's name"`
	// TrustMemory is how long what a node remembers of revocations counts.
	TrustMemory session.Duration `yaml:"trust_memory" default:"30s" doc:"how long a node that cannot hear of the others' changes goes on verifying access tokens from memory, 1s to 10m; then it answers 503. A revocation waits no longer than that for a node that is gone"`

	Listen         string `yaml:"listen" default:"127.0.0.1:9130" doc:"public listener: login, refresh, gateway. In mode okapi-module what Okapi calls, by default 127.0.0.1:8081"`
	InternalListen string `yaml:"internal_listen" default:"127.0.0.1:9131" doc:"listener for nested calls of modules; module tokens are accepted here only. Not there in mode okapi-module"`
	AdminListen    string `yaml:"admin_listen" default:"127.0.0.1:9132" doc:"management API, health and metrics; keep it on loopback or behind a firewall"`

	// PublicURL is how browsers reach the public listener.
	PublicURL string `yaml:"public_url" doc:"how clients reach the public listener, with path prefix if there is one, such as https://folio.example.org/okapi"`
	// InternalURL is what modules get as X-Okapi-Url.
	InternalURL string `yaml:"internal_url" doc:"what modules get as X-Okapi-Url; default is the internal listener's address"`

	TLS            TLSConfig `yaml:"tls"`
	TrustedProxies []string  `yaml:"trusted_proxies" doc:"networks whose X-Forwarded-For is believed and who may ask /authn/verify, such as 10.0.0.0/8"`
	CORS           struct {
		Origins []string `yaml:"origins" doc:"origins of user interfaces on other hosts, such as https://ui.example.org; empty allows none but the own"`
	} `yaml:"cors"`
	Cookies struct {
		SameSite string `yaml:"same_site" default:"Lax" doc:"Lax, Strict or None"`
		Insecure bool   `yaml:"insecure" default:"false" doc:"leave out Secure, for clients that do not send such cookies to http://localhost; refused with a public_url that is https"`
	} `yaml:"cookies"`

	MasterKeyFile string `yaml:"master_key_file" default:"{data}/master.key" doc:"32 random bytes, base64 or hex, that wrap all keys at rest; created on first start; COUNTERFOIL_MASTER_KEY in the environment wins"`
	Modules       string `yaml:"modules" doc:"directory of module descriptors to load at start"`

	APIKeys struct {
		Routes []gateway.PartnerRoute `yaml:"routes" doc:"routes by which partners of FOLIO's edge modules call, with keys in the URL if need be; see [API keys](api-keys.md). Empty: keys in the Authorization header only"`
	} `yaml:"api_keys"`

	OAuth struct {
		Clients []session.Client `yaml:"clients" doc:"programs that get tokens at /oauth2; see [OAuth](oauth.md)"`
	} `yaml:"oauth"`

	// Authtoken says which tokens of mod-authtoken count.
	Authtoken AuthtokenSettings `yaml:"mod_authtoken"`

	// Directory says where users and their permissions are.
	Directory DirectorySettings `yaml:"directory"`

	Policy  session.PolicyPatch            `yaml:"policy" doc:"lifetimes and refresh rule for all tenants, see the policy guide"`
	Tenants map[string]session.PolicyPatch `yaml:"tenants" doc:"the same for single tenants"`

	Login struct {
		DeactivateAfter   int              `yaml:"deactivate_after" default:"0" doc:"FOLIO's rule: deactivate a user after so many wrong passwords within 10 minutes; 0 is off, because anybody can lock anybody out with it"`
		MinPassword       int              `yaml:"min_password" default:"15" doc:"shortest new password, in characters"`
		ResetURL          string           `yaml:"reset_url" doc:"page of the user interface that sets a password, such as https://ui.example.org/reset-password; the token of the link and ?tenant= are put after it. Empty: no links are made"`
		ForgotURL         string           `yaml:"forgot_url" doc:"page that asks for another link, such as https://ui.example.org/forgot-password, for messages to users"`
		ResetTTL          session.Duration `yaml:"reset_ttl" default:"15m" doc:"how long such a link holds, 1m to 24h"`
		LogEvents         []string         `yaml:"log_events" doc:"types of events that FOLIO's /authn/log/events has, such as FAILED_LOGIN_ATTEMPT; empty switches it off, as FOLIO does by default. The audit log has all of them anyway"`
		EurekaPermissions bool             `yaml:"eureka_permissions" default:"false" doc:"list a user's permissions as FOLIO's Eureka platform does, as objects and from the module that serves /permissions/users, if there is one"`

		Exempt []string `yaml:"exempt_networks" doc:"networks in which many people share one address, such as a library behind a translating router: there, failed logins are limited per user and tenant only"`
	} `yaml:"login"`

	// Audit is what becomes of the audit log.
	Audit AuditSettings `yaml:"audit"`
	// Tracing is where spans of requests go.
	Tracing TracingSettings `yaml:"tracing"`

	Log struct {
		Level  string `yaml:"level" default:"info" doc:"debug, info, warn or error; debug logs each request"`
		Format string `yaml:"format" default:"json" doc:"json or text"`
	} `yaml:"log"`

	Errors struct {
		Profile gateway.ErrorProfile            `yaml:"profile" default:"counterfoil" doc:"statuses and shapes of refusals. counterfoil: 401 without a token, JSON for tokens that do not hold. okapi: those of Okapi and mod-authtoken, with 400 without a token, all as text. eureka: those of folio-module-sidecar, a list in JSON, and 401 for a wrong password. Mode okapi-module follows mod-authtoken already where clients go by it"`
		Tenants map[string]gateway.ErrorProfile `yaml:"tenants" doc:"the profile of single tenants, such as diku: okapi"`
	} `yaml:"errors"`
	Timers struct {
		Disabled bool `yaml:"disabled" default:"false" doc:"do not call the timers of modules (interface _timer). Of several nodes on one database, the one that has been up for longest calls them; set the same on all"`
	} `yaml:"timers"`
	Upstream struct {
		Timeout session.Duration `yaml:"timeout" default:"10m" doc:"how long a module may take to begin its answer"`
	} `yaml:"upstream"`
	VerifiedTokens int              `yaml:"verified_tokens" default:"20000" doc:"access tokens whose verified signature is remembered; -1 switches that off"`
	KeepEnded      session.Duration `yaml:"keep_ended" default:"30d" doc:"how long ended sessions are kept to answer why they ended"`
	Drain          session.Duration `yaml:"drain" default:"30s" doc:"how long requests in flight may take at shutdown"`
	DrainDelay     session.Duration `yaml:"drain_delay" default:"0s" doc:"how long at shutdown requests are still taken while /admin/ready answers 503 already, so that a balancer has time to notice; 1m at most"`
	Profiles       bool             `yaml:"profiles" default:"false" doc:"serve Go's profiles on the admin listener, below /debug/pprof/. They show what the program does and which code holds memory; switch it off again"`

	// Demo switches the checks off that a demonstration cannot meet: open
	// management on loopback, weak seed passwords, unsafe policies with a
	// warning. No file can set it.
	Demo bool `yaml:"-"`
	// MasterKey is the key itself, from the environment. No file can set it.
	MasterKey []byte `yaml:"-"`
	// Now is the clock; nil is time.Now.
	Now func() time.Time `yaml:"-"`
	// MarkEvery is how often the database's mark moves on; 0 is 2 s.
	MarkEvery time.Duration `yaml:"-"`
	// LogTo is where the log goes; nil is standard error.
	LogTo io.Writer `yaml:"-"`
}

// PostgresSettings is what the URL of the database does not say.
type PostgresSettings struct {
	PasswordFile string `yaml:"password_file" doc:"file that holds the password, and nothing else; DB_PASSWORD in the environment wins"`
	ServerPEM    string `yaml:"server_pem" doc:"PEM file with the certificates by which the server is known; its name is verified then"`
	Connections  int    `yaml:"connections" default:"10" doc:"most connections, beside four for refreshes and news"`
	Pooled       bool   `yaml:"pooled" default:"false" doc:"the URL leads to a pooler that lends connections for one transaction, such as PgBouncer"`
	Listen       string `yaml:"listen" doc:"URL past the pooler, to hear of changes at once; without one, a node asks five times a second"`

	// password and certificates are from the environment.
	password, certificates string
}

// DirectorySettings say where users and permissions are kept, and how what
// FOLIO says of them is remembered.
type DirectorySettings struct {
	Source     string           `yaml:"source" default:"local" doc:"where users and permissions are: local, in the database of Counterfoil, or folio, in FOLIO's mod-users and mod-permissions. Passwords, tenants and the users of the supertenant are always in the database"`
	URL        string           `yaml:"url" doc:"where FOLIO's modules are asked: Okapi, with path prefix if there is one; default is okapi.url or, in mode gateway, the internal listener, through which the gateway reaches them itself"`
	Timeout    session.Duration `yaml:"timeout" default:"3s" doc:"how long one question to FOLIO may take, 100ms to 30s"`
	TTL        session.Duration `yaml:"ttl" default:"60s" doc:"how old what FOLIO said of a user may get, 1s to 1h: a change there has effect within that time"`
	Stale      session.Duration `yaml:"stale" default:"5m" doc:"how much older it may get while FOLIO does not answer, 1s to 24h; after that requests of users are answered with 503"`
	Consortium bool             `yaml:"consortium" default:"false" doc:"at a login, ask FOLIO's user-tenants for the tenant of the consortium in which the user is at home"`
	Users      int              `yaml:"users" default:"50000" doc:"users who are remembered at a time"`
}

// TLSConfig names certificate files. They are read again when they change.
type TLSConfig struct {
	Cert string `yaml:"cert" doc:"PEM file with certificate chain for the public listener"`
	Key  string `yaml:"key" doc:"PEM file with its private key"`
}

// LoadConfig reads a file and the environment and reports every fault at once.
// An empty path is all defaults.
//
// adjust sees what was read before defaults are filled in: it is for flags.
func LoadConfig(path string, environ func(string) (string, bool), adjust ...func(*Config)) (*Config, error) {
	c := &Config{}
	var faults []error
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		faults = append(faults, c.decode(path, text)...)
	}
	faults = append(faults, c.environment(environ)...)
	for _, do := range adjust {
		do(c)
	}
	c.SetDefaults()
	faults = append(faults, c.Check()...)
	return c, errors.Join(faults...)
}

// The modes of the program.
const (
	ModeGateway     = "gateway"
	ModeOkapiModule = "okapi-module"
)

func (c *Config) behindOkapi() bool { return c.Mode == ModeOkapiModule }

// SetData moves everything that follows the data directory to another one.
func (c *Config) SetData(dir string) {
	if c.Store == "sqlite:"+filepath.Join(c.Data, "counterfoil.db") {
		c.Store = "sqlite:" + filepath.Join(dir, "counterfoil.db")
	}
	if c.MasterKeyFile == filepath.Join(c.Data, "master.key") {
		c.MasterKeyFile = filepath.Join(dir, "master.key")
	}
	c.Data = dir
}

// SetDefaults fills in what was not set.
func (c *Config) SetDefaults() {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&c.Data, "data")
	fill(&c.Store, "sqlite:"+filepath.Join(c.Data, "counterfoil.db"))
	fill(&c.Mode, ModeGateway)
	if c.behindOkapi() {
		fill(&c.Listen, "127.0.0.1:8081") // 9130 is Okapi's own
	}
	fill(&c.Listen, "127.0.0.1:9130")
	fill(&c.InternalListen, "127.0.0.1:9131")
	fill(&c.AdminListen, "127.0.0.1:9132")
	fill(&c.Cookies.SameSite, "Lax")
	fill(&c.MasterKeyFile, filepath.Join(c.Data, "master.key"))
	fill(&c.Node, hostName())
	fill(&c.Log.Level, "info")
	fill(&c.Log.Format, "json")
	fill(&c.Directory.Source, "local")
	c.Audit.setDefaults()
	if c.Tracing.Sample == 0 {
		c.Tracing.Sample = 1
	}
	for _, one := range []struct {
		field *session.Duration
		value time.Duration
	}{{&c.Directory.Timeout, 3 * time.Second}, {&c.Directory.TTL, time.Minute}, {&c.Directory.Stale, 5 * time.Minute}} {
		if *one.field == 0 {
			*one.field = session.Duration(one.value)
		}
	}
	if c.Directory.Users == 0 {
		c.Directory.Users = 50_000
	}
	if c.Login.ResetTTL == 0 {
		c.Login.ResetTTL = session.Duration(session.DefaultLinkTTL)
	}
	if c.Login.MinPassword == 0 {
		c.Login.MinPassword = 15
	}
	if c.TrustMemory == 0 {
		c.TrustMemory = session.Duration(session.DefaultTrust)
	}
	if c.Postgres.Connections == 0 {
		c.Postgres.Connections = 10
	}
	c.Errors.Profile = cmp.Or(c.Errors.Profile, gateway.ProfileCounterfoil)
	if c.Upstream.Timeout == 0 {
		c.Upstream.Timeout = session.Duration(10 * time.Minute)
	}
	if c.KeepEnded == 0 {
		c.KeepEnded = session.Duration(30 * 24 * time.Hour)
	}
	if c.Drain == 0 {
		c.Drain = session.Duration(30 * time.Second)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.LogTo == nil {
		c.LogTo = os.Stderr
	}
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "node"
	}
	return name
}

var sameSites = map[string]http.SameSite{
	"Lax": http.SameSiteLaxMode, "Strict": http.SameSiteStrictMode, "None": http.SameSiteNoneMode,
}
