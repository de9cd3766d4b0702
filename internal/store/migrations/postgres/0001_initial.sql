-- Times are microseconds since 1970 in UTC, 0 is never. Text is compared by
-- bytes: tenants, ids and normal names differ when their case does.

CREATE TABLE tenants (
    id          text   COLLATE "C" NOT NULL PRIMARY KEY,
    name        text   COLLATE "C" NOT NULL,
    description text   COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL
);

INSERT INTO tenants (id, name, description, created_at)
VALUES ('supertenant', 'supertenant', 'owns the gateway itself', 0);

CREATE TABLE users (
    tenant      text    COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id          text    COLLATE "C" NOT NULL,
    username    text    COLLATE "C" NOT NULL, -- as its owner writes it
    normal_name text    COLLATE "C" NOT NULL, -- as it is compared
    active      boolean NOT NULL,
    first_name  text    COLLATE "C" NOT NULL,
    last_name   text    COLLATE "C" NOT NULL,
    email       text    COLLATE "C" NOT NULL,
    created_at  bigint  NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, normal_name)
);

-- No reference to users: they may be kept by another system.
CREATE TABLE credentials (
    tenant  text COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id text COLLATE "C" NOT NULL,
    encoded text COLLATE "C" NOT NULL, -- password hash with its parameters
    PRIMARY KEY (tenant, user_id)
);

CREATE TABLE grants (
    tenant     text    COLLATE "C" NOT NULL,
    user_id    text    COLLATE "C" NOT NULL,
    permission text    COLLATE "C" NOT NULL,
    elevated   boolean NOT NULL, -- true: has effect in a raised token only
    PRIMARY KEY (tenant, user_id, permission, elevated),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
);

-- Two modules may bring sets of one name, and take only their own along.
CREATE TABLE permission_sets (
    tenant        text    COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    module        text    COLLATE "C" NOT NULL, -- '': made by an operator
    name          text    COLLATE "C" NOT NULL,
    display_name  text    COLLATE "C" NOT NULL,
    description   text    COLLATE "C" NOT NULL,
    sub           text    COLLATE "C" NOT NULL, -- JSON array of names
    elevated_only boolean NOT NULL,
    PRIMARY KEY (tenant, module, name)
);

CREATE TABLE policies (
    tenant text COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    scope  text COLLATE "C" NOT NULL,
    name   text COLLATE "C" NOT NULL,
    patch  text COLLATE "C" NOT NULL, -- JSON object
    PRIMARY KEY (tenant, scope, name)
);

CREATE TABLE modules (
    id         text  COLLATE "C" NOT NULL PRIMARY KEY,
    descriptor bytea NOT NULL
);

CREATE TABLE enabled_modules (
    tenant text COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    module text COLLATE "C" NOT NULL REFERENCES modules (id),
    PRIMARY KEY (tenant, module)
);

CREATE INDEX enabled_modules_module ON enabled_modules (module);

-- No reference to modules: an instance may be announced before its module.
CREATE TABLE instances (
    id     text COLLATE "C" NOT NULL PRIMARY KEY,
    module text COLLATE "C" NOT NULL,
    url    text COLLATE "C" NOT NULL
);

CREATE TABLE keys (
    purpose      text   COLLATE "C" NOT NULL,
    id           text   COLLATE "C" NOT NULL,
    state        text   COLLATE "C" NOT NULL,
    algorithm    text   COLLATE "C" NOT NULL,
    public       bytea  NOT NULL,
    wrapped      bytea  NOT NULL, -- empty once removed
    created_at   bigint NOT NULL,
    activated_at bigint NOT NULL,
    retired_at   bigint NOT NULL,
    removed_at   bigint NOT NULL,
    PRIMARY KEY (purpose, id)
);

-- The epoch of a tenant has user_id ''. Epochs only grow, and outlive what
-- they belong to: a tenant that comes back must not revive its old sessions.
CREATE TABLE epochs (
    tenant  text   COLLATE "C" NOT NULL,
    user_id text   COLLATE "C" NOT NULL,
    n       bigint NOT NULL,
    at      bigint NOT NULL,
    PRIMARY KEY (tenant, user_id)
);

-- One row per login, only ever updated. What a refresh changes is in state, a
-- value of fixed size that no index holds and that is the last of the row: the
-- new version goes to the same page (a HOT update), no index hears of it, and
-- the log gets what differs from the old version. struck_at and ended_at repeat
-- what is in state for the indexes; they change only with a strike and at the
-- end.
--
-- Half of each page is left free, so that every row of a page can be rotated in
-- one transaction before the old versions are thrown out.
CREATE TABLE sessions (
    id              bytea  NOT NULL PRIMARY KEY,
    seq             bigint NOT NULL GENERATED ALWAYS AS IDENTITY, -- in the order of logins
    created_at      bigint NOT NULL,
    absolute_expiry bigint NOT NULL,
    tenant_epoch    bigint NOT NULL, -- at login
    user_epoch      bigint NOT NULL,
    struck_at       bigint NOT NULL,
    ended_at        bigint NOT NULL,
    tenant          text   COLLATE "C" NOT NULL,
    user_id         text   COLLATE "C" NOT NULL,
    username        text   COLLATE "C" NOT NULL,
    client          text   COLLATE "C" NOT NULL,
    secret          bytea  NOT NULL,
    device          bytea  NOT NULL, -- empty: not bound
    login_address   text   COLLATE "C" NOT NULL,
    user_agent      text   COLLATE "C" NOT NULL,
    ended_why       text   COLLATE "C" NOT NULL,
    ended_by        text   COLLATE "C" NOT NULL,
    state           bytea  NOT NULL
) WITH (fillfactor = 50);

-- Never compressed, never moved out of the row.
ALTER TABLE sessions ALTER COLUMN state SET STORAGE PLAIN;

-- For lists: entries of one value are in the order of seq.
CREATE INDEX sessions_seq     ON sessions (seq);
CREATE INDEX sessions_user    ON sessions (user_id, seq);
CREATE INDEX sessions_tenant  ON sessions (tenant, seq);
CREATE INDEX sessions_address ON sessions (login_address, seq);
-- For the limit of sessions per user, and to end them.
CREATE INDEX sessions_live    ON sessions (user_id, tenant, absolute_expiry) WHERE ended_at = 0;
-- For the sweep.
CREATE INDEX sessions_expiry  ON sessions (absolute_expiry) WHERE ended_at = 0;
CREATE INDEX sessions_ended   ON sessions (ended_at) WHERE ended_at <> 0;
-- For the start, to set the timers of open strikes.
CREATE INDEX sessions_struck  ON sessions (struck_at) WHERE struck_at <> 0;

CREATE TABLE events (
    seq           bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at            bigint NOT NULL,
    kind          text   COLLATE "C" NOT NULL,
    tenant        text   COLLATE "C" NOT NULL,
    session       text   COLLATE "C" NOT NULL, -- '': about no session
    user_id       text   COLLATE "C" NOT NULL,
    actor_kind    text   COLLATE "C" NOT NULL,
    actor_name    text   COLLATE "C" NOT NULL,
    actor_user_id text   COLLATE "C" NOT NULL,
    address       text   COLLATE "C" NOT NULL,
    user_agent    text   COLLATE "C" NOT NULL,
    request_id    text   COLLATE "C" NOT NULL,
    reason        text   COLLATE "C" NOT NULL,
    detail        text   COLLATE "C" NOT NULL -- JSON object, or ''
);

CREATE INDEX events_session ON events (session, seq) WHERE session <> '';
CREATE INDEX events_user    ON events (user_id, seq) WHERE user_id <> '';
CREATE INDEX events_tenant  ON events (tenant, seq);
CREATE INDEX events_kind    ON events (tenant, kind, seq);
-- For the sweep of what strangers can cause.
CREATE INDEX events_refused ON events (at)
    WHERE kind IN ('login_failed', 'login_limited', 'elevation_failed');

-- The number of the newest change. Whoever makes changes takes this row as the
-- last thing before the commit, so numbers are in the order of commits and none
-- is missing among those that can be read.
CREATE TABLE feed (
    one integer NOT NULL PRIMARY KEY CHECK (one = 1),
    seq bigint  NOT NULL
) WITH (fillfactor = 10);

INSERT INTO feed (one, seq) VALUES (1, 0);

-- What other nodes must hear of, for as long as one may take to ask.
CREATE TABLE changes (
    seq     bigint NOT NULL PRIMARY KEY,
    kind    text   COLLATE "C" NOT NULL,
    tenant  text   COLLATE "C" NOT NULL,
    user_id text   COLLATE "C" NOT NULL,
    session bytea  NOT NULL, -- empty: about no session
    epoch   bigint NOT NULL,
    at      bigint NOT NULL
);

-- One row for each process. heard_at is until when it has applied every change,
-- flushed_at until when it has stored what it noticed.
CREATE TABLE nodes (
    id         text   COLLATE "C" NOT NULL PRIMARY KEY,
    name       text   COLLATE "C" NOT NULL,
    started    bigint NOT NULL,
    heard_at   bigint NOT NULL,
    applied    bigint NOT NULL,
    flushed_at bigint NOT NULL
) WITH (fillfactor = 10);
