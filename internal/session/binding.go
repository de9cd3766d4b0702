package session

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/netip"
)

// bound is whether the refresh has in common with the login what the policy
// asks for. It refuses, it never ends a session: networks and devices change
// for honest reasons, too.
func (d *decision) bound(row *Session) bool {
	switch d.policy.Binding {
	case BindingSubnet:
		return sameNetwork(row.LoginAddress, d.actor.Address)
	case BindingDevice:
		presented := deviceHash(d.req.Device)
		return d.req.Device != "" && subtle.ConstantTimeCompare(presented[:], row.Device[:]) == 1
	}
	return true
}

// confirmed is whether the refresh comes with the key that the session is bound
// to. A token without its key is stolen, or of a client that lost its key; the
// session is its owner's, and goes on.
func (d *decision) confirmed(row *Session) bool {
	return row.Confirm == "" || d.req.Confirm == row.Confirm
}

func (d *decision) mismatch(row *Session) string {
	if !d.confirmed(row) {
		return "refreshed without the key that the session is bound to"
	}
	return "refreshed from another " + string(d.policy.Binding) + " than at login"
}

func sameNetwork(a, b string) bool {
	first, err := network(a)
	second, err2 := network(b)
	return err == nil && err2 == nil && first == second
}

// network is the /24 of an IPv4 address, the /64 of an IPv6 address.
func network(address string) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, err
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.Prefix(24)
	}
	return addr.Prefix(64)
}

// newDevice makes the value of a device cookie: 256 random bits.
func newDevice() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// deviceHash is what is stored of a device cookie. The cookie is random, so a
// plain hash hides it.
func deviceHash(device string) [32]byte {
	return sha256.Sum256([]byte("counterfoil device\x00" + device))
}
