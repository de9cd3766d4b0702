package store

import (
	"testing"
	"time"
)

// engine is a way to keep things that the suite demands the same of.
type engine struct {
	// open returns a fresh store, closed at the end of the test.
	open func(t *testing.T, now func() time.Time) DB
	// reopen closes a store and opens it again.
	reopen func(t *testing.T, db DB, now func() time.Time) DB
}

func TestSQLite(t *testing.T) {
	paths := make(map[DB]string)
	suite(t, engine{
		open: func(t *testing.T, now func() time.Time) DB {
			path := databasePath(t)
			s := openSQLite(t, path, now)
			paths[s] = path
			return s
		},
		reopen: func(t *testing.T, db DB, now func() time.Time) DB {
			must(t, db.Close())
			return openSQLite(t, paths[db], now)
		},
	})
}

// suite is what every engine must do. Each test gets a store of its own.
func suite(t *testing.T, e engine) {
	for _, part := range []map[string]func(*testing.T, bench, engine){
		sessionTests, endingTests, listTests, feedTests, groupTests, accountTests, directoryTests, recordTests,
	} {
		for name, test := range part {
			t.Run(name, func(t *testing.T) { test(t, newBench(t, e), e) })
		}
	}
}
