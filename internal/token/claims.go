package token

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind tells what a JWT is for. It is FOLIO's claim "type".
type Kind string

// The kinds of JWT. No endpoint accepts more of them than it names.
const (
	// KindAccess is what a logged-in caller shows, for minutes.
	KindAccess Kind = "access"
	// KindElevated is an access token with raised scope for one operation.
	KindElevated Kind = "elevated"
	// KindModule is what a module gets for one request and what it calls
	// other modules with.
	KindModule Kind = "module"
	// KindDummy belongs to no user, as in a link that resets a password.
	KindDummy Kind = "dummy-expiring"
)

// ACRElevated is the authentication context (RFC 9470) of elevated tokens: the
// user proved anew who he is, for the permissions that they name.
const ACRElevated = "urn:counterfoil:acr:elevated"

// Claims are the content of a JWT of any kind. Kind decides which fields are
// written and which must be set; a field that the kind does not know is not
// written, and a token that carries it is refused. Every kind needs Tenant,
// Subject, IssuedAt and Expires.
type Claims struct {
	Kind Kind
	// Issuer and Audience are the ring's own; Mint sets them.
	Issuer, Audience string
	// Tenant is the only tenant in which the token is of use.
	Tenant string
	// Subject is the user's name, as FOLIO has it. A name can be given to
	// another user later: decide by Tenant and UserID.
	Subject string
	// UserID is needed in access and elevated tokens, and in module tokens
	// empty if no user stands behind the request.
	UserID string
	// ClientID (RFC 9068 section 2.2) is needed in access and elevated tokens;
	// module tokens carry it where the request began with an API key.
	ClientID string
	// Module is the id of the module that the token was made for, such as
	// mod-users-19.4.0; needed in module tokens, unknown to others.
	Module string
	// Session is needed in access and elevated tokens; module tokens carry
	// that of their caller if there is one.
	Session SessionID
	// Gen is the generation of the refresh token beside which an access or
	// elevated token was given.
	Gen uint64
	// TenantEpoch and UserEpoch are the epochs at the time of issue: raising
	// an epoch ends all older tokens. Dummy tokens have no user's epoch.
	TenantEpoch, UserEpoch uint64
	// Permissions are the elevated_permissions of an elevated token, at least
	// one, and the extra_permissions of module and dummy tokens, [] if none.
	Permissions []string
	// RequestID is needed in module tokens: it tells in logs which request of
	// the outside a call belongs to.
	RequestID string
	// Scope (RFC 9068 section 2.2.3, optional, unknown to dummy tokens) is what the token has of its client's scopes; empty for all of them.
	Scope string
	// Confirm (optional, only in access and elevated tokens) is the key that
	// whoever shows the token must prove to hold.
	Confirm Confirmation
	// ID is the jti of access and elevated tokens; Mint draws one if empty.
	ID string
	// IssuedAt, Expires and AuthTime (when the user logged in, optional, only
	// in access and elevated tokens) are cut to whole seconds.
	IssuedAt, Expires, AuthTime time.Time
}

// wireClaims is every claim of every kind, for reading.
type wireClaims struct {
	Type        Kind     `json:"type"`
	IssuedAt    int64    `json:"iat"`
	Tenant      string   `json:"tenant"`
	Subject     string   `json:"sub"`
	UserID      string   `json:"user_id"`
	Expires     int64    `json:"exp"`
	Module      string   `json:"module"`
	Dummy       bool     `json:"dummy"`
	Extra       []string `json:"extra_permissions"`
	Elevated    []string `json:"elevated_permissions"`
	Issuer      string   `json:"iss"`
	Audience    string   `json:"aud"`
	ID          string   `json:"jti"`
	Session     string   `json:"sid"`
	Gen         uint64   `json:"gen"`
	TenantEpoch uint64   `json:"te"`
	UserEpoch   uint64   `json:"ue"`
	ClientID    string   `json:"client_id"`
	AuthTime    int64    `json:"auth_time"`
	RequestID   string   `json:"rid"`
	Scope       string   `json:"scope"`
	ACR         string   `json:"acr"`
	Confirm     struct {
		Key         string `json:"jkt"`
		Certificate string `json:"x5t#S256"`
	} `json:"cnf"`
}

// errPayload is a payload that is not written as Mint writes it: a claim is
// missing, is one that the kind does not have, or is written differently.
var errPayload = errors.New("payload is not one that Counterfoil writes")

// parseClaims reads a payload. Claims that are absent, unknown to the kind,
// out of range or written in any other way than appendTo writes them are
// found by writing the result again: only equal bytes are accepted, so there
// is no second list of rules that could drift from the first.
func parseClaims(payload []byte) (Claims, error) {
	var w wireClaims
	if err := json.Unmarshal(payload, &w, json.RejectUnknownMembers(true)); err != nil {
		return Claims{}, errPayload // err would repeat the payload
	}
	c := Claims{
		Kind: w.Type, Issuer: w.Issuer, Audience: w.Audience,
		Tenant: w.Tenant, Subject: w.Subject, UserID: w.UserID, ClientID: w.ClientID, Module: w.Module,
		Gen: w.Gen, TenantEpoch: w.TenantEpoch, UserEpoch: w.UserEpoch,
		Permissions: w.Extra, RequestID: w.RequestID, ID: w.ID, Scope: w.Scope,
		IssuedAt: time.Unix(w.IssuedAt, 0).UTC(), Expires: time.Unix(w.Expires, 0).UTC(),
	}
	if c.Kind == KindElevated {
		c.Permissions = w.Elevated
	}
	if w.AuthTime != 0 {
		c.AuthTime = time.Unix(w.AuthTime, 0).UTC()
	}
	switch {
	case w.Confirm.Key != "":
		c.Confirm = ConfirmKey(w.Confirm.Key)
	case w.Confirm.Certificate != "":
		c.Confirm = ConfirmCertificate(w.Confirm.Certificate)
	}
	if w.Session != "" {
		var err error
		if c.Session, err = ParseSessionID(w.Session); err != nil {
			return Claims{}, errPayload
		}
	}
	if err := c.check(); err != nil {
		return Claims{}, err
	}
	again, err := c.appendTo(make([]byte, 0, len(payload)))
	if err != nil || !bytes.Equal(again, payload) {
		return Claims{}, errPayload
	}
	return c, nil
}

// check tells what the kind needs and c lacks.
func (c *Claims) check() error {
	missing := ""
	need := func(claim string, present bool) {
		if !present {
			missing = claim
		}
	}
	need("tenant", c.Tenant != "")
	need("sub", c.Subject != "")
	need("iat", c.IssuedAt.Unix() > 0)
	switch c.Kind {
	case KindElevated:
		need("elevated_permissions", len(c.Permissions) > 0)
		fallthrough
	case KindAccess:
		need("user_id", c.UserID != "")
		need("client_id", c.ClientID != "")
		need("sid", !c.Session.IsZero())
		need("jti", c.ID != "")
	case KindModule:
		need("module", c.Module != "")
		need("rid", c.RequestID != "")
	case KindDummy:
	default:
		return errors.New("unknown type") // not repeated: it may be anything
	}
	if missing != "" {
		return fmt.Errorf("%s token without %s", c.Kind, missing)
	}
	if c.Expires.Unix() <= c.IssuedAt.Unix() {
		return fmt.Errorf("%s token that expires when it is issued", c.Kind)
	}
	return nil
}

// appendTo writes the payload. Text that is not UTF-8 is an error.
func (c *Claims) appendTo(dst []byte) ([]byte, error) {
	o := object{text: append(dst, '{')}
	o.string(`"type":`, string(c.Kind))
	o.seconds(`,"iat":`, c.IssuedAt)
	o.string(`,"tenant":`, c.Tenant)
	o.string(`,"sub":`, c.Subject)
	switch c.Kind {
	case KindAccess, KindElevated:
		o.string(`,"user_id":`, c.UserID)
		o.string(`,"client_id":`, c.ClientID)
		o.string(`,"jti":`, c.ID)
		o.session(c.Session)
		o.number(`,"gen":`, c.Gen)
		o.number(`,"ue":`, c.UserEpoch)
		if !c.AuthTime.IsZero() {
			o.seconds(`,"auth_time":`, c.AuthTime)
		}
		if c.Scope != "" {
			o.string(`,"scope":`, c.Scope)
		}
		o.confirm(c.Confirm)
		if c.Kind == KindElevated {
			o.text = append(o.text, `,"acr":"`+ACRElevated+`"`...)
			o.list(`,"elevated_permissions":`, c.Permissions)
		}
	case KindModule:
		o.string(`,"module":`, c.Module)
		if c.Scope != "" {
			o.string(`,"scope":`, c.Scope)
		}
		if c.UserID != "" {
			o.string(`,"user_id":`, c.UserID)
		}
		if c.ClientID != "" {
			o.string(`,"client_id":`, c.ClientID)
		}
		if !c.Session.IsZero() {
			o.session(c.Session)
		}
		o.number(`,"ue":`, c.UserEpoch)
		o.string(`,"rid":`, c.RequestID)
		o.list(`,"extra_permissions":`, c.Permissions)
	case KindDummy:
		o.text = append(o.text, `,"dummy":true`...)
		o.list(`,"extra_permissions":`, c.Permissions)
	}
	o.number(`,"te":`, c.TenantEpoch)
	o.string(`,"iss":`, c.Issuer)
	o.string(`,"aud":`, c.Audience)
	o.seconds(`,"exp":`, c.Expires)
	return append(o.text, '}'), o.err
}

// object is a JSON object being written. Names come with the punctuation
// before and after them.
type object struct {
	text []byte
	err  error
}

func (o *object) string(name, value string) {
	o.text = append(o.text, name...)
	o.quote(value)
}

func (o *object) quote(value string) {
	var err error
	if o.text, err = jsontext.AppendQuote(o.text, value); err != nil && o.err == nil {
		o.err = errors.New("claim that is not UTF-8")
	}
}

func (o *object) number(name string, value uint64) {
	o.text = append(o.text, name...)
	o.text = strconv.AppendUint(o.text, value, 10)
}

func (o *object) seconds(name string, value time.Time) {
	o.text = append(o.text, name...)
	o.text = strconv.AppendInt(o.text, value.Unix(), 10)
}

func (o *object) session(id SessionID) {
	text := id.text()
	o.text = append(o.text, `,"sid":"`...)
	o.text = append(o.text, text[:]...)
	o.text = append(o.text, '"')
}

func (o *object) confirm(c Confirmation) {
	if key, ok := c.Key(); ok {
		o.string(`,"cnf":{"jkt":`, key)
		o.text = append(o.text, '}')
	} else if certificate, ok := c.Certificate(); ok {
		o.string(`,"cnf":{"x5t#S256":`, certificate)
		o.text = append(o.text, '}')
	}
}

func (o *object) list(name string, values []string) {
	o.text = append(o.text, name...)
	o.text = append(o.text, '[')
	for i, value := range values {
		if i > 0 {
			o.text = append(o.text, ',')
		}
		o.quote(value)
	}
	o.text = append(o.text, ']')
}
