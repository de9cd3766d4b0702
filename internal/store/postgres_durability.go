package store

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Setting is one of those on which it depends whether what was acknowledged
// outlives a crash, or the loss of the primary.
type Setting struct {
	Name, Value string
	// Risk is what may happen because of it; empty if all is well.
	Risk string
}

// pgDurability also counts the standbys that follow now, as far as this role is
// shown them.
const pgDurability = `SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
	current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)`

// Durability looks at the database's settings.
func (p *Postgres) Durability(ctx context.Context) ([]Setting, error) {
	var fsync, pages, commit, standbys string
	var following int
	_, err := oneRow(ctx, p, "settings", pgDurability, func(row pgx.CollectableRow) (struct{}, error) {
		return struct{}{}, row.Scan(&fsync, &pages, &commit, &standbys, &following)
	})
	return durability(fsync, pages, commit, standbys, following), err
}

func durability(fsync, pages, commit, standbys string, following int) []Setting {
	risk := func(is bool, text string) string {
		if is {
			return text
		}
		return ""
	}
	all := []Setting{
		{"fsync", fsync, risk(fsync != "on", "a crash of the machine may lose or spoil everything")},
		{"full_page_writes", pages, risk(pages != "on", "a crash of the machine may spoil pages")},
		{"synchronous_commit", commit, risk(commit == "off", "a crash may take back rotations and revocations that were acknowledged")},
		{"synchronous_standby_names", standbys, risk(standbys == "" && following > 0,
			strconv.Itoa(following)+" standbys follow, and none of them is waited for: a failover may take back rotations and revocations that were acknowledged")},
	}
	if standbys != "" && (commit == "local" || commit == "off") {
		all[2].Risk = "commits do not wait for the standbys that are named: a failover may take back what was acknowledged"
	}
	return all
}
