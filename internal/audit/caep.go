package audit

// The event types of OpenID's Continuous Access Evaluation Profile 1.0.
const (
	caepSessionRevoked     = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	caepSessionEstablished = "https://schemas.openid.net/secevent/caep/event-type/session-established"
	caepCredentialChange   = "https://schemas.openid.net/secevent/caep/event-type/credential-change"
)

var caep = map[Kind]string{
	Login:           caepSessionEstablished,
	Logout:          caepSessionRevoked,
	LogoutAll:       caepSessionRevoked,
	SessionRevoked:  caepSessionRevoked,
	SessionEvicted:  caepSessionRevoked,
	RefreshReuse:    caepSessionRevoked,
	TenantEnded:     caepSessionRevoked,
	StoreTurnedBack: caepSessionRevoked,
	PasswordChanged: caepCredentialChange,
	PasswordCreated: caepCredentialChange,
	PasswordReset:   caepCredentialChange,
	PasswordDeleted: caepCredentialChange,
	APIKeyCreated:   caepCredentialChange,
	APIKeyRotated:   caepCredentialChange,
	APIKeyRevoked:   caepCredentialChange,
}

var changeTypes = map[Kind]string{
	PasswordChanged: "update", PasswordCreated: "create", PasswordReset: "update", PasswordDeleted: "delete",
	APIKeyCreated: "create", APIKeyRotated: "update", APIKeyRevoked: "revoke",
}

// CAEP is the URI of the event type that says the same in OpenID's Continuous
// Access Evaluation Profile, empty if none does.
func (k Kind) CAEP() string { return caep[k] }

// CAEPChange is the change_type of a credential-change, empty for other events.
func (k Kind) CAEPChange() string { return changeTypes[k] }
