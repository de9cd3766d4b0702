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
