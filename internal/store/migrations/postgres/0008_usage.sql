-- What happened in a while, in rings: a row is written over when its slot comes
-- again, so the table never grows beyond its slots.
CREATE TABLE usage (
    series          text COLLATE "C" NOT NULL,
    slot            bigint NOT NULL,
    begins          bigint NOT NULL,
    live            bigint NOT NULL, -- as last counted
    refreshes       bigint NOT NULL,
    retries         bigint NOT NULL,
    late_recoveries bigint NOT NULL,
    superseded      bigint NOT NULL,
    reuse           bigint NOT NULL,
    logins          bigint NOT NULL,
    logins_failed   bigint NOT NULL,
    ended           bigint NOT NULL,
    behind          bigint NOT NULL, -- µs that a node was behind the feed, at most
    PRIMARY KEY (series, slot)
);

-- What operators should look into is rare, and found among millions of events.
CREATE INDEX events_notable ON events (seq)
    WHERE kind IN ('refresh_reuse', 'tag_mismatch', 'generation_ahead', 'clock_backwards', 'store_turned_back',
        'user_blocked', 'tenant_sessions_ended', 'key_changed', 'policy_changed');
