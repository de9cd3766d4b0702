// Package audit says what happened: the vocabulary of security events and the
// actor on whose behalf a request runs.
//
// An event is a value. It is written by the store in the transaction of the
// fact that it tells, never beside it, so that the log cannot claim what did
// not commit or miss what did. A plain refresh is no event: it shows in the
// session's own row and in metrics, which keeps storage per session constant.
//
// Events never hold a token, a password, a cookie or a hash of one.
package audit

import "time"

// Kind names what happened. The strings are stable: operators search for them.
type Kind string

// The kinds of security events. Session events carry a session id, and
// together they are the timeline that answers "why was I logged out?".
const (
	Login             Kind = "login"              // a session was issued
	LoginFailed       Kind = "login_failed"       // wrong user, wrong password, inactive
	LoginLimited      Kind = "login_limited"      // refused unheard, too many failures
	LateRecovery      Kind = "late_recovery"      // the successor was given again outside the retry window
	Superseded        Kind = "superseded"         // an old token was presented, a strike is open
	StrikeHealed      Kind = "strike_healed"      // the owner proved that it holds the newest token
	RefreshReuse      Kind = "refresh_reuse"      // a used token came back and the session ended
	GenerationAhead   Kind = "generation_ahead"   // a genuine token newer than the row: a restored database
	GenerationAdopted Kind = "generation_adopted" // such a token moved its session on, as an operator had allowed
	StoreTurnedBack   Kind = "store_turned_back"  // the database was restored, or lost commits: all sessions end
	AdoptionBegan     Kind = "adoption_began"     // an operator lets sessions of a restored database catch up
	AdoptionEnded     Kind = "adoption_ended"     // the sessions that did not are over
	TagMismatch       Kind = "tag_mismatch"       // inner tag wrong: the row was altered or a key leaked
	ClockBackwards    Kind = "clock_backwards"    // the store's clock went behind a session's last rotation
	Logout            Kind = "logout"             // the user ended the session
	LogoutAll         Kind = "logout_all"         // the user ended all sessions
	SessionRevoked    Kind = "session_revoked"    // an operator or a rule ended the session
	SessionEvicted    Kind = "session_evicted"    // too many sessions of one user, the longest idle left
	BindingMismatch   Kind = "binding_mismatch"   // refreshed from another network or device than allowed
	Elevated          Kind = "elevated"           // raised scope was granted for one operation
	ElevationFailed   Kind = "elevation_failed"   // raised scope was refused
	PasswordChanged   Kind = "credential_change"  // CAEP credential-change; the user's sessions ended
	PasswordCreated   Kind = "credential_create"  // a first password was set; CAEP credential-change as well
	PasswordReset     Kind = "credential_reset"   // a password was set without the old one, by a link or a module
	PasswordDeleted   Kind = "credential_delete"  // the password was removed; the user's sessions ended
	PasswordLink      Kind = "password_link"      // the right to set a password once was given out
	PasswordUpgraded  Kind = "credential_upgrade" // an old hash was replaced at login, same password
	PasswordImported  Kind = "credential_import"  // a hash of mod-login was taken over
	OldTokensImported Kind = "old_tokens_import"  // refresh tokens of mod-authtoken may be swapped
	OldTokenSwapped   Kind = "old_token_swapped"  // one of them became a session
	LegacyTokenIssued Kind = "legacy_token_issued"
	LegacyTokenUsed   Kind = "legacy_token_used" // at once, then with a count each minute
	UserCreated       Kind = "user_created"
	UserChanged       Kind = "user_changed"
	UserDeleted       Kind = "user_deleted"
	UserDeactivated   Kind = "user_deactivated"
	UserBlocked       Kind = "user_blocked"         // deactivated by FOLIO's rule, after too many wrong passwords
	LoginReported     Kind = "login_event_reported" // a module says so, through FOLIO's log
	LoginLogCleared   Kind = "login_log_cleared"    // FOLIO's log begins anew for a user; these events stay
	PermissionChanged Kind = "permission_changed"
	DirectoryForgot   Kind = "directory_forgotten" // an operator had what is remembered of users elsewhere read anew
	TenantCreated     Kind = "tenant_created"
	TenantChanged     Kind = "tenant_changed"
	TenantDeleted     Kind = "tenant_deleted"
	TenantEnded       Kind = "tenant_sessions_ended" // every session of a tenant ended by its epoch
	PolicyChanged     Kind = "policy_changed"
	KeyChanged        Kind = "key_changed"
	ModuleChanged     Kind = "module_changed"
	APIKeyCreated     Kind = "api_key_created" // an operator made a key, or imported one of an edge module
	APIKeyRotated     Kind = "api_key_rotated" // it has a new secret, the one before holds for a while
	APIKeyChanged     Kind = "api_key_changed" // its scope or expiry
	APIKeyRevoked     Kind = "api_key_revoked" // it is over for good
	APIKeyStopped     Kind = "api_key_stopped" // its session was ended, it waits for an operator
	APIKeyResumed     Kind = "api_key_resumed" // an operator let it in again
	APIKeyDeleted     Kind = "api_key_deleted" // a revoked one was forgotten
	ClientChanged     Kind = "client_changed"  // an operator registered, changed or removed a client of OAuth
)

// Event is one security event.
type Event struct {
	// Seq orders events; the store assigns it.
	Seq int64
	// Time is the store's clock, read in the transaction.
	Time   time.Time
	Kind   Kind
	Tenant string
	// Session is the session's UUID, empty if the event is not about one.
	Session string
	// UserID is the user whom the event is about, not the one who acted.
	UserID string
	// Actor is who acted and from where.
	Actor Actor
	// Reason is a short sentence for people. It never repeats input.
	Reason string
	// Detail holds a few further facts, such as "generation": "12".
	Detail map[string]string
}
