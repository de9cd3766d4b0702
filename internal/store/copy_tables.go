package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
)

// table is what both engines have of a table, under the same names.
type table struct {
	name    string
	columns []column
	// key is what the rows are read in the order of.
	key string
	// made is which rows the migrations make; empty is none.
	made string
}

type column struct {
	name string
	kind columnKind
}

// columnKind is how a value travels: text as string, number as int64, truth as
// bool and raw as []byte.
type columnKind int

const (
	text columnKind = iota
	number
	truth
	raw
)

// copiedTables is everything that makes an installation, in an order in which
// rows refer to earlier ones only. A test fails for a column that is not here.
var copiedTables = []table{
	{name: "tenants", key: "id", made: "id = 'supertenant' AND created_at = 0", columns: []column{
		{"id", text}, {"name", text}, {"description", text}, {"created_at", number},
	}},
	{name: "users", key: "tenant, id", columns: []column{
		{"tenant", text},
		{"id", text},
		{"username", text},
		{"normal_name", text},
		{"active", truth},
		{"first_name", text},
		{"last_name", text},
		{"email", text},
		{"created_at", number},
	}},
	{name: "credentials", key: "tenant, user_id", columns: []column{
		{"tenant", text}, {"user_id", text}, {"encoded", text},
	}},
	{name: "password_history", key: "tenant, user_id, n", columns: []column{
		{"tenant", text}, {"user_id", text}, {"n", number}, {"encoded", text},
	}},
	{name: "password_actions", key: "tenant, id", columns: []column{
		{"tenant", text}, {"id", text}, {"user_id", text}, {"secret", raw}, {"expires_at", number},
	}},
	{name: "login_attempts", key: "tenant, user_id", columns: []column{
		{"tenant", text}, {"user_id", text}, {"n", number}, {"at", number},
	}},
	{name: "imported_credentials", key: "tenant, user_id", columns: []column{
		{"tenant", text}, {"user_id", text}, {"salt", text},
	}},
	{name: "old_tokens", key: "tenant, id", columns: []column{
		{"tenant", text}, {"id", text}, {"user_id", text}, {"expires_at", number}, {"used_at", number}, {"session", text},
	}},
	{name: "grants", key: "tenant, user_id, permission, elevated", columns: []column{
		{"tenant", text}, {"user_id", text}, {"permission", text}, {"elevated", truth},
	}},
	{name: "permission_sets", key: "tenant, module, name", columns: []column{
		{"tenant", text},
		{"module", text},
		{"name", text},
		{"display_name", text},
		{"description", text},
		{"sub", text},
		{"elevated_only", truth},
	}},
	{name: "policies", key: "tenant, scope, name", columns: []column{
		{"tenant", text}, {"scope", text}, {"name", text}, {"patch", text},
	}},
	{name: "modules", key: "id", columns: []column{
		{"id", text}, {"descriptor", raw},
	}},
	{name: "enabled_modules", key: "tenant, module", columns: []column{
		{"tenant", text}, {"module", text},
	}},
	{name: "timers", key: "tenant, id", columns: []column{
		{"tenant", text}, {"id", text}, {"unit", text}, {"delay", number},
	}},
	{name: "instances", key: "id", columns: []column{
		{"id", text}, {"module", text}, {"url", text},
	}},
	{name: "keys", key: "purpose, id", columns: []column{
		{"purpose", text},
		{"id", text},
		{"state", text},
		{"algorithm", text},
		{"public", raw},
		{"wrapped", raw},
		{"created_at", number},
		{"activated_at", number},
		{"retired_at", number},
		{"removed_at", number},
	}},
	{name: "api_keys", key: "id", columns: []column{
		{"id", text},
		{"tenant", text},
		{"user_id", text},
		{"name", text},
		{"kind", text},
		{"hash", raw},
		{"old_hash", raw},
		{"old_until", number},
		{"routes", text},
		{"permissions", text},
		{"created_at", number},
		{"expires_at", number},
		{"revoked_at", number},
		{"stopped_at", number},
		{"session", text},
	}},
	{name: "oauth_clients", key: "id", columns: []column{
		{"id", text}, {"tenant", text}, {"client", text}, {"changed_at", number},
	}},
	{name: "spent", key: "kind, id", columns: []column{
		{"kind", text}, {"id", raw}, {"expires_at", number},
	}},
	{name: "epochs", key: "tenant, user_id", columns: []column{
		{"tenant", text}, {"user_id", text}, {"n", number}, {"at", number},
	}},
	{name: "sessions", key: "seq", columns: []column{
		{"seq", number},
		{"id", raw},
		{"tenant", text},
		{"user_id", text},
		{"username", text},
		{"client", text},
		{"secret", raw},
		{"device", raw},
		{"tenant_epoch", number},
		{"user_epoch", number},
		{"created_at", number},
		{"absolute_expiry", number},
		{"login_address", text},
		{"user_agent", text},
		{"state", raw},
		{"struck_at", number},
		{"ended_at", number},
		{"ended_why", text},
		{"ended_by", text},
		{"scope", text},
		{"confirm", text},
		{"active_day", number},
	}},
	{name: "device_codes", key: "hash", columns: []column{
		{"hash", raw},
		{"user_code", text},
		{"tenant", text},
		{"client", text},
		{"scope", text},
		{"created_at", number},
		{"expires_at", number},
		{"polled_at", number},
		{"waits", number},
		{"answer", text},
		{"session", raw},
	}},
	{name: "events", key: "seq", columns: []column{
		{"seq", number},
		{"at", number},
		{"kind", text},
		{"tenant", text},
		{"session", text},
		{"user_id", text},
		{"actor_kind", text},
		{"actor_name", text},
		{"actor_user_id", text},
		{"address", text},
		{"user_agent", text},
		{"request_id", text},
		{"reason", text},
		{"detail", text},
	}},
	{name: "event_chain", key: "n", columns: []column{
		{"n", number}, {"seq", number}, {"at", number}, {"passing", truth}, {"digest", raw}, {"hash", raw},
	}},
	{name: "event_checkpoints", key: "n", columns: []column{
		{"n", number}, {"seq", number}, {"hash", raw}, {"at", number}, {"swept", number}, {"key_id", text}, {"signature", raw},
	}},
	{name: "usage", key: "series, slot", columns: []column{
		{"series", text},
		{"slot", number},
		{"begins", number},
		{"live", number},
		{"refreshes", number},
		{"retries", number},
		{"late_recoveries", number},
		{"superseded", number},
		{"reuse", number},
		{"logins", number},
		{"logins_failed", number},
		{"ended", number},
		{"behind", number},
	}},
	{name: "event_sinks", key: "name", columns: []column{
		{"name", text}, {"n", number}, {"holder", text}, {"until", number},
	}},
	{name: "event_dead_letters", key: "sink, n", columns: []column{
		{"sink", text}, {"n", number}, {"at", number}, {"why", text},
	}},
	// The marks go along, or the nodes would take the copy for another database
	// than the one that they remember.
	{name: "marks", key: "incarnation", made: "n = 1 AND at = 0", columns: []column{
		{"incarnation", text}, {"own", truth}, {"n", number}, {"at", number},
	}},
	{name: "adoption", key: "one", made: "epoch = 0", columns: []column{
		{"one", number}, {"epoch", number}, {"since", number}, {"until", number},
	}},
	// The number of the newest change: whoever compares it with an older one must
	// not find that it went back.
	{name: "feed", key: "one", made: "seq = 0", columns: []column{
		{"one", number}, {"seq", number},
	}},
}

// The statements that both engines understand. Names are of copiedTables, never
// of a caller.

func (t *table) names() []string {
	var names []string
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	return names
}

func (t *table) selectAll() string {
	return `SELECT ` + strings.Join(t.names(), ", ") + ` FROM ` + t.name + ` ORDER BY ` + t.key
}

func (t *table) countAll() string { return `SELECT count(*) FROM ` + t.name }

// countStrange counts the rows that no migration made.
func (t *table) countStrange() string {
	if t.made == "" {
		return t.countAll()
	}
	return t.countAll() + ` WHERE NOT (` + t.made + `)`
}

// checksum is of rows in any order: the engines do not sort alike what one of
// them has replaced. The hashes of the rows are added up in four lanes.
type checksum struct {
	rows  int64
	lanes [4]uint64
	row   []byte
}

func (c *checksum) add(row []any) {
	b := c.row[:0]
	for _, value := range row {
		switch value := value.(type) {
		case int64:
			b = binary.BigEndian.AppendUint64(b, uint64(value))
		case bool:
			if value {
				b = append(b, 1)
			} else {
				b = append(b, 0)
			}
		case string:
			b = append(binary.BigEndian.AppendUint64(b, uint64(len(value))), value...)
		case []byte:
			b = append(binary.BigEndian.AppendUint64(b, uint64(len(value))), value...)
		}
	}
	c.row = b
	sum := sha256.Sum256(b)
	for i := range c.lanes {
		c.lanes[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
	c.rows++
}

func (c *checksum) String() string {
	return fmt.Sprintf("%016x%016x%016x%016x", c.lanes[0], c.lanes[1], c.lanes[2], c.lanes[3])
}
