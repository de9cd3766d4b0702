package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/counterfoil/counterfoil/internal/session"
)

// Config is everything an operator can set. The zero value of each field means
// its default; Check says what cannot work.
type Config struct {
	// Data is the directory of the database, the master key and the admin
	// token. It is created, readable by its owner alone.
	Data string `yaml:"data" default:"data" doc:"directory of the database, the master key and the admin token; created with mode 0700"`
	// Store is where sessions are kept.
	Store string `yaml:"store" default:"sqlite:{data}/counterfoil.db" doc:"where sessions are kept: sqlite:PATH"`

	Listen         string `yaml:"listen" default:"127.0.0.1:9130" doc:"public listener: login, refresh, gateway"`
	InternalListen string `yaml:"internal_listen" default:"127.0.0.1:9131" doc:"listener for nested calls of modules; module tokens are accepted here only"`
	AdminListen    string `yaml:"admin_listen" default:"127.0.0.1:9132" doc:"management API, health and metrics; keep it on loopback or behind a firewall"`

	// PublicURL is how browsers reach the public listener.
	PublicURL string `yaml:"public_url" doc:"how clients reach the public listener, with path prefix if there is one, such as https://folio.example.org/okapi"`
	// InternalURL is what modules get as X-Okapi-Url.
	InternalURL string `yaml:"internal_url" doc:"what modules get as X-Okapi-Url; default is the internal listener's address"`

	TLS            TLSConfig `yaml:"tls"`
	TrustedProxies []string  `yaml:"trusted_proxies" doc:"networks whose X-Forwarded-For is believed, such as 10.0.0.0/8"`
	CORS           struct {
		Origins []string `yaml:"origins" doc:"origins of user interfaces on other hosts, such as https://ui.example.org; empty allows none but the own"`
	} `yaml:"cors"`
	Cookies struct {
		SameSite string `yaml:"same_site" default:"Lax" doc:"Lax, Strict or None"`
		Insecure bool   `yaml:"insecure" default:"false" doc:"leave out Secure, for clients that do not send such cookies to http://localhost; refused with a public_url that is https"`
	} `yaml:"cookies"`

	MasterKeyFile string `yaml:"master_key_file" default:"{data}/master.key" doc:"32 random bytes, base64 or hex, that wrap all keys at rest; created on first start; COUNTERFOIL_MASTER_KEY in the environment wins"`
	Modules       string `yaml:"modules" doc:"directory of module descriptors to load at start"`

	Policy  session.PolicyPatch            `yaml:"policy" doc:"lifetimes and refresh rule for all tenants, see the policy guide"`
	Tenants map[string]session.PolicyPatch `yaml:"tenants" doc:"the same for single tenants"`

	Login struct {
		DeactivateAfter int `yaml:"deactivate_after" default:"0" doc:"FOLIO's rule: deactivate a user after so many wrong passwords within 10 minutes; 0 is off, because anybody can lock anybody out with it"`
		MinPassword     int `yaml:"min_password" default:"15" doc:"shortest new password, in characters"`
	} `yaml:"login"`

	Log struct {
		Level  string `yaml:"level" default:"info" doc:"debug, info, warn or error; debug logs each request"`
		Format string `yaml:"format" default:"json" doc:"json or text"`
	} `yaml:"log"`

	Upstream struct {
		Timeout session.Duration `yaml:"timeout" default:"10m" doc:"how long a module may take to begin its answer"`
	} `yaml:"upstream"`
	VerifiedTokens int              `yaml:"verified_tokens" default:"20000" doc:"access tokens whose verified signature is remembered; -1 switches that off"`
	KeepEnded      session.Duration `yaml:"keep_ended" default:"30d" doc:"how long ended sessions are kept to answer why they ended"`
	Drain          session.Duration `yaml:"drain" default:"30s" doc:"how long requests in flight may take at shutdown"`

	// Demo switches the checks off that a demonstration cannot meet: open
	// management on loopback, weak seed passwords, unsafe policies with a
	// warning. No file can set it.
	Demo bool `yaml:"-"`
	// MasterKey is the key itself, from the environment. No file can set it.
	MasterKey []byte `yaml:"-"`
	// Now is the clock; nil is time.Now.
	Now func() time.Time `yaml:"-"`
	// LogTo is where the log goes; nil is standard error.
	LogTo io.Writer `yaml:"-"`
}

// TLSConfig names certificate files. They are read again when they change.
type TLSConfig struct {
	Cert string `yaml:"cert" doc:"PEM file with certificate chain for the public listener"`
	Key  string `yaml:"key" doc:"PEM file with its private key"`
}

// LoadConfig reads a file and the environment and reports every fault at once.
// An empty path is all defaults.
func LoadConfig(path string, environ func(string) (string, bool)) (*Config, error) {
	c := &Config{}
	var faults []error
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		faults = append(faults, c.decode(path, text))
	}
	faults = append(faults, c.environment(environ)...)
	c.SetDefaults()
	faults = append(faults, c.Check()...)
	return c, errors.Join(faults...)
}

// unknownField is yaml's way of telling an unknown key; the type's name in it
// means nothing to an operator.
var unknownField = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*$`)

func (c *Config) decode(path string, text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	err := decoder.Decode(c)
	var faults *yaml.TypeError
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &faults):
		var list []error
		for _, one := range faults.Errors {
			one = unknownField.ReplaceAllString(one, "line $1: unknown key $2")
			list = append(list, fmt.Errorf("%s: %s", path, one))
		}
		return errors.Join(list...)
	}
	return fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
}

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
	fill(&c.Listen, "127.0.0.1:9130")
	fill(&c.InternalListen, "127.0.0.1:9131")
	fill(&c.AdminListen, "127.0.0.1:9132")
	fill(&c.Cookies.SameSite, "Lax")
	fill(&c.MasterKeyFile, filepath.Join(c.Data, "master.key"))
	fill(&c.Log.Level, "info")
	fill(&c.Log.Format, "json")
	if c.Login.MinPassword == 0 {
		c.Login.MinPassword = 15
	}
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

var sameSites = map[string]http.SameSite{
	"Lax": http.SameSiteLaxMode, "Strict": http.SameSiteStrictMode, "None": http.SameSiteNoneMode,
}

// Check reports everything that cannot work.
func (c *Config) Check() []error {
	var faults []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	bad(!strings.HasPrefix(c.Store, "sqlite:"), "store: %q is not sqlite:PATH, the only engine of this version", c.Store)
	for name, address := range map[string]string{"listen": c.Listen, "internal_listen": c.InternalListen, "admin_listen": c.AdminListen} {
		_, err := netip.ParseAddrPort(strings.Replace(address, "localhost:", "127.0.0.1:", 1))
		bad(err != nil && !strings.HasPrefix(address, ":"), "%s: %q is not ADDRESS:PORT", name, address)
	}
	public, err := url.Parse(c.PublicURL)
	bad(c.PublicURL != "" && (err != nil || public.Host == "" || public.Scheme != "http" && public.Scheme != "https" || public.RawQuery != "" || public.Fragment != ""),
		"public_url: %q is not an http or https URL without query", c.PublicURL)
	internal, err := url.Parse(c.InternalURL)
	bad(c.InternalURL != "" && (err != nil || internal.Host == "" || internal.Scheme != "http" && internal.Scheme != "https"),
		"internal_url: %q is not an http or https URL", c.InternalURL)
	bad((c.TLS.Cert == "") != (c.TLS.Key == ""), "tls: cert and key belong together")
	bad(c.Cookies.Insecure && strings.HasPrefix(c.PublicURL, "https:"), "cookies.insecure: not with a public_url that is https")
	for _, network := range c.TrustedProxies {
		_, err := parseNetwork(network)
		bad(err != nil, "trusted_proxies: %q is not a network such as 10.0.0.0/8", network)
	}
	for _, origin := range c.CORS.Origins {
		bad(!validOrigin(origin), "cors.origins: %q is not an origin such as https://ui.example.org; a wildcard with cookies would let any page act as the user", origin)
	}
	_, known := sameSites[c.Cookies.SameSite]
	bad(!known, "cookies.same_site: %q is not Lax, Strict or None", c.Cookies.SameSite)
	_, err = logLevel(c.Log.Level)
	bad(err != nil, "log.level: %q is not debug, info, warn or error", c.Log.Level)
	bad(c.Log.Format != "json" && c.Log.Format != "text", "log.format: %q is not json or text", c.Log.Format)
	bad(c.Login.MinPassword < 8, "login.min_password: %d is less than 8", c.Login.MinPassword)
	bad(c.Login.DeactivateAfter < 0, "login.deactivate_after: must not be negative")
	bad(c.VerifiedTokens < -1 || c.VerifiedTokens > 10_000_000, "verified_tokens: %d is not between -1 and 10000000", c.VerifiedTokens)
	bad(c.Upstream.Timeout < 0 || c.KeepEnded < 0 || c.Drain < 0, "upstream.timeout, keep_ended and drain must not be negative")
	if !c.Demo {
		faults = append(faults, c.checkPolicies()...)
	}
	return faults
}

func (c *Config) checkPolicies() []error {
	var faults []error
	base := c.Policy.Apply(session.DefaultPolicy())
	refuse := func(where string, policy session.Policy) {
		for _, f := range policy.Lint() {
			if f.Refuse {
				faults = append(faults, fmt.Errorf("%s.%s: %s", where, f.Field, f.Reason))
			}
		}
	}
	refuse("policy", base)
	for tenant, patch := range c.Tenants {
		refuse("tenants."+tenant, patch.Apply(base))
	}
	return faults
}

func parseNetwork(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return addr.Prefix(addr.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

func validOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" &&
		u.Path == "" && u.RawQuery == "" && u.User == nil && !strings.Contains(s, "*")
}

func logLevel(name string) (level slog.Level, err error) {
	err = level.UnmarshalText([]byte(name))
	return level, err
}
