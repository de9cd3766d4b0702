-- Times are microseconds since 1970 in UTC, 0 is never. Text is compared by
-- bytes: tenants, ids and normal names differ when their case does.

CREATE TABLE tenants (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO tenants (id, name, description, created_at)
VALUES ('supertenant', 'supertenant', 'owns the gateway itself', 0);

CREATE TABLE users (
    tenant      TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id          TEXT    NOT NULL,
    username    TEXT    NOT NULL, -- as its owner writes it
    normal_name TEXT    NOT NULL, -- as it is compared
    active      INTEGER NOT NULL,
    first_name  TEXT    NOT NULL,
    last_name   TEXT    NOT NULL,
    email       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, normal_name)
) STRICT, WITHOUT ROWID;

-- No reference to users: they may be kept by another system.
CREATE TABLE credentials (
    tenant  TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    encoded TEXT NOT NULL, -- password hash with its parameters
    PRIMARY KEY (tenant, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    tenant     TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    permission TEXT    NOT NULL,
    elevated   INTEGER NOT NULL, -- 1: has effect in a raised token only
    PRIMARY KEY (tenant, user_id, permission, elevated),
    FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Two modules may bring sets of one name, and take only their own along.
CREATE TABLE permission_sets (
    tenant        TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    module        TEXT    NOT NULL, -- '': made by an operator
    name          TEXT    NOT NULL,
    display_name  TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    sub           TEXT    NOT NULL, -- JSON array of names
    elevated_only INTEGER NOT NULL,
    PRIMARY KEY (tenant, module, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    tenant TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    scope  TEXT NOT NULL,
    name   TEXT NOT NULL,
    patch  TEXT NOT NULL, -- JSON object
    PRIMARY KEY (tenant, scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE modules (
    id         TEXT NOT NULL PRIMARY KEY,
    descriptor BLOB NOT NULL
) STRICT;

CREATE TABLE enabled_modules (
    tenant TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    module TEXT NOT NULL REFERENCES modules (id),
    PRIMARY KEY (tenant, module)
) STRICT, WITHOUT ROWID;

CREATE INDEX enabled_modules_module ON enabled_modules (module);

-- No reference to modules: an instance may be announced before its module.
CREATE TABLE instances (
    id     TEXT NOT NULL PRIMARY KEY,
    module TEXT NOT NULL,
    url    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    purpose      TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    algorithm    TEXT    NOT NULL,
    public       BLOB    NOT NULL,
    wrapped      BLOB    NOT NULL, -- empty once removed
    created_at   INTEGER NOT NULL,
    activated_at INTEGER NOT NULL,
    retired_at   INTEGER NOT NULL,
    removed_at   INTEGER NOT NULL,
    PRIMARY KEY (purpose, id)
) STRICT, WITHOUT ROWID;

-- The epoch of a tenant has user_id ''. Epochs only grow, and outlive what
-- they belong to: a tenant that comes back must not revive its old sessions.
CREATE TABLE epochs (
    tenant  TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, user_id)
) STRICT, WITHOUT ROWID;

-- One row per login, only ever updated. What a refresh changes is in state, a
-- value of fixed size that no index holds: the row is overwritten in its
-- place, and the file does not grow. struck_at and ended_at repeat what is in
-- state for the indexes; they change only with a strike and at the end.
--
-- Rows are kept in the order of logins (seq), because a table ordered by
-- random ids would have long rows in every inner page: measured, a refresh
-- then takes half as much time again.
CREATE TABLE sessions (
    seq             INTEGER NOT NULL PRIMARY KEY,
    id              BLOB    NOT NULL UNIQUE,
    tenant          TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    username        TEXT    NOT NULL,
    client          TEXT    NOT NULL,
    secret          BLOB    NOT NULL,
    device          BLOB    NOT NULL, -- empty: not bound
    tenant_epoch    INTEGER NOT NULL, -- at login
    user_epoch      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    absolute_expiry INTEGER NOT NULL,
    login_address   TEXT    NOT NULL,
    user_agent      TEXT    NOT NULL,
    state           BLOB    NOT NULL,
    struck_at       INTEGER NOT NULL,
    ended_at        INTEGER NOT NULL,
    ended_why       TEXT    NOT NULL,
    ended_by        TEXT    NOT NULL
) STRICT;

-- For lists: entries of one value are in the order of seq.
CREATE INDEX sessions_user    ON sessions (user_id);
CREATE INDEX sessions_tenant  ON sessions (tenant);
CREATE INDEX sessions_address ON sessions (login_address);
-- For the limit of sessions per user, and to end them.
CREATE INDEX sessions_live    ON sessions (user_id, tenant, absolute_expiry) WHERE ended_at = 0;
-- For the sweep.
CREATE INDEX sessions_expiry  ON sessions (absolute_expiry) WHERE ended_at = 0;
CREATE INDEX sessions_ended   ON sessions (ended_at) WHERE ended_at <> 0;
-- For the start, to set the timers of open strikes.
CREATE INDEX sessions_struck  ON sessions (struck_at) WHERE struck_at <> 0;

CREATE TABLE events (
    seq           INTEGER NOT NULL PRIMARY KEY,
    at            INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    tenant        TEXT    NOT NULL,
    session       TEXT    NOT NULL, -- '': about no session
    user_id       TEXT    NOT NULL,
    actor_kind    TEXT    NOT NULL,
    actor_name    TEXT    NOT NULL,
    actor_user_id TEXT    NOT NULL,
    address       TEXT    NOT NULL,
    user_agent    TEXT    NOT NULL,
    request_id    TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    detail        TEXT    NOT NULL -- JSON object, or ''
) STRICT;

CREATE INDEX events_session ON events (session) WHERE session <> '';
CREATE INDEX events_user    ON events (user_id) WHERE user_id <> '';
CREATE INDEX events_tenant  ON events (tenant);
CREATE INDEX events_kind    ON events (tenant, kind);
-- For the sweep of what strangers can cause.
CREATE INDEX events_refused ON events (at)
    WHERE kind IN ('login_failed', 'login_limited', 'elevation_failed');

-- The number of the newest change.
CREATE TABLE feed (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;

INSERT INTO feed (one, seq) VALUES (1, 0);
