-- Clients that were registered by an operator; those of the configuration are
-- not here.
CREATE TABLE oauth_clients (
    id         TEXT   NOT NULL PRIMARY KEY,
    tenant     TEXT   NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    client     TEXT   NOT NULL, -- JSON object
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX oauth_clients_tenant ON oauth_clients (tenant, id);

-- What is good once, for as long as it would be good: proofs and assertions.
CREATE TABLE spent (
    kind       TEXT   NOT NULL,
    id         BLOB  NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_expiry ON spent (expires_at);

-- Devices that wait for somebody to let them in (RFC 8628). Of the device's own
-- code there is a hash.
CREATE TABLE device_codes (
    hash       BLOB  NOT NULL PRIMARY KEY,
    user_code  TEXT   NOT NULL UNIQUE,
    tenant     TEXT   NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    client     TEXT   NOT NULL,
    scope      TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    polled_at  INTEGER NOT NULL,
    waits      INTEGER NOT NULL, -- seconds between two questions of the device
    answer     TEXT   NOT NULL, -- '', 'approved', 'denied', 'redeemed'
    session    BLOB  NOT NULL -- empty: none yet
) STRICT, WITHOUT ROWID;

CREATE INDEX device_codes_expiry ON device_codes (expires_at);

-- scope is what a session has of its client's scopes, '' for all of them;
-- confirm is the key that its tokens are bound to, '' for none. active_day is
-- counted in days since 1970; 0 is not known.
ALTER TABLE sessions ADD COLUMN scope      TEXT   NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN confirm    TEXT   NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN active_day INTEGER NOT NULL DEFAULT 0;

-- For lists by last activity: entries of one day are in the order of seq, the
-- rowid. A rotation moves a row in them once a day.
CREATE INDEX sessions_active        ON sessions (active_day);
CREATE INDEX sessions_tenant_active ON sessions (tenant, active_day);
