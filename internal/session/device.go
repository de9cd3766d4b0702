package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// The limits of device authorization (RFC 8628).
const (
	// DeviceTTL is how long a device waits for somebody to let it in.
	DeviceTTL = 10 * time.Minute
	// DeviceInterval is the pause between two questions of a device at first.
	DeviceInterval = 5 * time.Second
	// maxDevices may wait for one client: the endpoint of a public client is open
	// to everybody.
	maxDevices = 1000
)

// Device is a device that waits for somebody to let it in, or whom somebody has
// answered. Everything but the last three is fixed.
type Device struct {
	// Hash is of the device's own code. The user's is short, and read aloud.
	Hash                           [32]byte
	UserCode                       string
	Tenant, Client, Scope          string
	CreatedAt, ExpiresAt, PolledAt time.Time
	// Waits is the pause that the device must make between two questions.
	Waits time.Duration
	// Answer is what somebody said, and Session what began with it.
	Answer  DeviceAnswer
	Session token.SessionID
}

// DeviceAnswer is what became of a device; empty is nothing yet.
type DeviceAnswer string

// The answers.
const (
	DeviceLetIn   DeviceAnswer = "approved"
	DeviceRefused DeviceAnswer = "denied"
)

// What a device is told instead of tokens (RFC 8628 section 3.5).
var (
	ErrDeviceWaits   = errors.New("nobody has answered yet")
	ErrDeviceHasty   = errors.New("asked again too soon")
	ErrDeviceRefused = errors.New("refused by the user")
	ErrDeviceExpired = errors.New("nobody answered in time")
)

// DeviceStore keeps devices that wait.
type DeviceStore interface {
	// CreateDevice keeps one, and forgets some whose time is over. It fails with
	// directory.ErrExists for a user code that is taken, and with ErrBusy if limit
	// devices of the client wait.
	CreateDevice(ctx context.Context, d Device, limit int) error
	// DeviceByCode finds the one with a user code.
	DeviceByCode(ctx context.Context, userCode string) (Device, error)
	// UpdateDevice lets decide change what is not fixed, and keeps it if decide
	// says so. now is the store's clock. decide runs once or more.
	UpdateDevice(ctx context.Context, hash [32]byte, decide func(now time.Time, d *Device) bool) error
}

// userCodeLetters make no words, and none looks like another (RFC 8628 section
// 6.1). Eight of them are 34 bits, for ten minutes and with few wrong guesses.
const userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"

func newUserCode() string {
	var code [8]byte
	for i := 0; i < len(code); {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		for _, one := range b {
			if one < 240 && i < len(code) { // 12 × 20, so that all are as likely
				code[i] = userCodeLetters[one%20]
				i++
			}
		}
	}
	return string(code[:])
}

// ShownCode is a user code as people read it.
func ShownCode(code string) string {
	if len(code) != 8 {
		return code
	}
	return code[:4] + "-" + code[4:]
}

// typedCode is a user code as it is kept, of what somebody typed.
func typedCode(text string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(userCodeLetters, c) {
			return c
		}
		return -1
	}, strings.ToUpper(text[:min(len(text), 64)]))
}

func deviceCodeHash(code string) [32]byte {
	return sha256.Sum256([]byte("counterfoil device code\x00" + code))
}

// bound is what the code of a device's session is good for. No redirect URI is
// empty, so none of the authorization endpoint is good here.
func (d *Device) bound() CodeBound {
	return CodeBound{Client: d.Client, Challenge: hex.EncodeToString(d.Hash[:])}
}

// AskForDevice begins to wait for a user. code is for the device, and d.UserCode
// for the user to type elsewhere.
func (s *Service) AskForDevice(ctx context.Context, c *Client, scope string) (code string, d Device, err error) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	code = "cfdc_" + base64.RawURLEncoding.EncodeToString(b[:])
	now := s.Now()
	d = Device{
		Hash: deviceCodeHash(code), Tenant: c.Tenant, Client: c.ID, Scope: scope,
		CreatedAt: now, ExpiresAt: now.Add(DeviceTTL), Waits: DeviceInterval,
	}
	for range 5 {
		d.UserCode = newUserCode()
		err = s.retry(ctx, func() error { return s.Devices.CreateDevice(ctx, d, maxDevices) })
		if !errors.Is(err, directory.ErrExists) {
			break
		}
	}
	return code, d, err
}

// FindDevice is the device that waits under what somebody typed, ErrNotFound or
// *Limited: guesses are counted for each address.
func (s *Service) FindDevice(ctx context.Context, typed string) (Device, error) {
	attempt := credential.Attempt{User: "device"}
	attempt.Address, _ = netip.ParseAddr(audit.ActorFrom(ctx).Address)
	if d := s.codes.Allow(s.Now(), attempt); !d.Allowed {
		return Device{}, &Limited{RetryAfter: d.RetryAfter}
	}
	d, err := s.Devices.DeviceByCode(ctx, typedCode(typed))
	switch {
	case err == nil && d.Answer == "" && s.Now().Before(d.ExpiresAt):
		s.codes.Succeeded(s.Now(), attempt)
		return d, nil
	case err == nil || errors.Is(err, ErrNotFound):
		s.codes.Failed(s.Now(), attempt)
		return Device{}, ErrNotFound
	}
	s.codes.Abandoned(s.Now(), attempt)
	return Device{}, err
}

// LetDeviceIn proves a password and begins the session that the device gets the
// tokens of. It fails as Login does, and with ErrNotFound if the device does not
// wait any more.
func (s *Service) LetDeviceIn(ctx context.Context, d *Device, username, password string) error {
	code, err := s.Authorize(ctx, LoginRequest{Tenant: d.Tenant, Username: username, Password: password, Scope: d.Scope}, d.bound())
	if err != nil {
		return err
	}
	opened, _, err := s.openCode(code)
	if err != nil {
		return err
	}
	if err = s.answerDevice(ctx, d, DeviceLetIn, opened.Session); err != nil {
		// Nobody gets what was begun for a device that is gone.
		_, ended := s.end(ctx, opened.Session, func(*Session) bool { return true }, LoggedOut, audit.Logout)
		return errors.Join(err, ended)
	}
	return nil
}

// RefuseDevice tells the device that it is not let in.
func (s *Service) RefuseDevice(ctx context.Context, d *Device) error {
	return s.answerDevice(ctx, d, DeviceRefused, token.SessionID{})
}

func (s *Service) answerDevice(ctx context.Context, d *Device, answer DeviceAnswer, id token.SessionID) error {
	answered := false
	err := s.retry(ctx, func() error {
		return s.Devices.UpdateDevice(ctx, d.Hash, func(now time.Time, row *Device) bool {
			if row.Answer == answer && row.Session == id {
				answered = true // committed before, and the answer to that was lost inside
				return false
			}
			answered = row.Answer == "" && now.Before(row.ExpiresAt)
			row.Answer, row.Session = answer, id
			return answered
		})
	})
	if err == nil && !answered {
		return ErrNotFound
	}
	return err
}

// DeviceTokens gives a device its tokens, once, bound to the key that it proved,
// or says why not yet. A code that
// is not the client's, or that was used, is *Refused.
func (s *Service) DeviceTokens(ctx context.Context, c *Client, code string, confirm token.Confirmation) (*Tokens, error) {
	var d Device
	var not error
	err := s.retry(ctx, func() error {
		return s.Devices.UpdateDevice(ctx, deviceCodeHash(code), func(now time.Time, row *Device) bool {
			not = asksAgain(row, c, now)
			d = *row
			return errors.Is(not, ErrDeviceWaits) || errors.Is(not, ErrDeviceHasty)
		})
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, &Refused{}
	case err != nil:
		return nil, err
	case not != nil:
		return nil, not
	}
	row, err := s.Store.Session(ctx, d.Session)
	if errors.Is(err, ErrNotFound) {
		return nil, &Refused{Final: true}
	}
	if err != nil {
		return nil, err
	}
	bound := d.bound()
	bound.Confirm = confirm
	return s.Redeem(ctx, s.mintCode(row, bound), bound)
}

// asksAgain is what a device is told that asks for its tokens; nil is that they
// are there.
func asksAgain(d *Device, c *Client, now time.Time) error {
	switch {
	case d.Client != c.ID:
		return &Refused{}
	case d.Answer == DeviceLetIn:
		return nil // also late: the device may have been told to wait so long
	case d.Answer == DeviceRefused:
		return ErrDeviceRefused
	case !now.Before(d.ExpiresAt):
		return ErrDeviceExpired
	case now.Before(d.PolledAt.Add(d.Waits)):
		d.PolledAt, d.Waits = now, d.Waits+DeviceInterval
		return ErrDeviceHasty
	}
	d.PolledAt = now
	return ErrDeviceWaits
}
