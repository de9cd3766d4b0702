-- The chain over the events: one link each, numbered without gaps in the order of
-- the events, made after their commit so that nobody who writes one waits for it.
CREATE TABLE event_chain (
    n       bigint NOT NULL PRIMARY KEY,
    seq     bigint NOT NULL UNIQUE, -- the event's; a passing one may be gone
    at      bigint NOT NULL,
    passing boolean NOT NULL,
    digest  bytea NOT NULL, -- of the event alone
    hash    bytea NOT NULL  -- of this link and all before it
);

-- What the program has signed of the chain.
CREATE TABLE event_checkpoints (
    n         bigint NOT NULL PRIMARY KEY,
    seq       bigint NOT NULL,
    hash      bytea NOT NULL,
    at        bigint NOT NULL,
    swept     bigint NOT NULL, -- passing events from before then may be gone
    key_id    text COLLATE "C" NOT NULL,
    signature bytea NOT NULL
);

-- How far each sink is in the chain, and which node feeds it until when.
CREATE TABLE event_sinks (
    name   text COLLATE "C" NOT NULL PRIMARY KEY,
    n      bigint NOT NULL,
    holder text COLLATE "C" NOT NULL,
    until  bigint NOT NULL
);

-- What a sink refused for good.
CREATE TABLE event_dead_letters (
    sink text COLLATE "C" NOT NULL,
    n    bigint NOT NULL,
    at   bigint NOT NULL,
    why  text COLLATE "C" NOT NULL,
    PRIMARY KEY (sink, n)
);
