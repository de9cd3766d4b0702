-- The chain over the events: one link each, numbered without gaps in the order of
-- the events, made after their commit so that nobody who writes one waits for it.
CREATE TABLE event_chain (
    n       INTEGER NOT NULL PRIMARY KEY,
    seq     INTEGER NOT NULL UNIQUE, -- the event's; a passing one may be gone
    at      INTEGER NOT NULL,
    passing INTEGER NOT NULL,
    digest  BLOB NOT NULL, -- of the event alone
    hash    BLOB NOT NULL  -- of this link and all before it
) STRICT;

-- What the program has signed of the chain.
CREATE TABLE event_checkpoints (
    n         INTEGER NOT NULL PRIMARY KEY,
    seq       INTEGER NOT NULL,
    hash      BLOB NOT NULL,
    at        INTEGER NOT NULL,
    swept     INTEGER NOT NULL, -- passing events from before then may be gone
    key_id    TEXT NOT NULL,
    signature BLOB NOT NULL
) STRICT;

-- How far each sink is in the chain, and which node feeds it until when.
CREATE TABLE event_sinks (
    name   TEXT NOT NULL PRIMARY KEY,
    n      INTEGER NOT NULL,
    holder TEXT NOT NULL,
    until  INTEGER NOT NULL
) STRICT;

-- What a sink refused for good.
CREATE TABLE event_dead_letters (
    sink TEXT NOT NULL,
    n    INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    why  TEXT NOT NULL,
    PRIMARY KEY (sink, n)
) STRICT;
