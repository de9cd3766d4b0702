-- What happened in a while, in rings: a row is written over when its slot comes
-- again, so the table never grows beyond its slots.
CREATE TABLE usage (
    series          TEXT    NOT NULL,
    slot            INTEGER NOT NULL,
    begins          INTEGER NOT NULL,
    live            INTEGER NOT NULL, -- as last counted
    refreshes       INTEGER NOT NULL,
    retries         INTEGER NOT NULL,
    late_recoveries INTEGER NOT NULL,
    superseded      INTEGER NOT NULL,
    reuse           INTEGER NOT NULL,
    logins          INTEGER NOT NULL,
    logins_failed   INTEGER NOT NULL,
    ended           INTEGER NOT NULL,
    behind          INTEGER NOT NULL, -- µs that a node was behind the feed, at most
    PRIMARY KEY (series, slot)
) STRICT, WITHOUT ROWID;

-- What operators should look into is rare, and found among millions of events.
CREATE INDEX events_notable ON events (seq)
    WHERE kind IN ('refresh_reuse', 'tag_mismatch', 'generation_ahead', 'clock_backwards', 'store_turned_back',
        'user_blocked', 'tenant_sessions_ended', 'key_changed', 'policy_changed');
