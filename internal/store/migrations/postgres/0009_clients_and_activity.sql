-- Clients that were registered by an operator; those of the configuration are
-- not here.
CREATE TABLE oauth_clients (
    id         text   COLLATE "C" NOT NULL PRIMARY KEY,
    tenant     text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    client     text   COLLATE "C" NOT NULL, -- JSON object
    changed_at bigint NOT NULL
);

CREATE INDEX oauth_clients_tenant ON oauth_clients (tenant, id);

-- What is good once, for as long as it would be good: proofs and assertions.
CREATE TABLE spent (
    kind       text   COLLATE "C" NOT NULL,
    id         bytea  NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE INDEX spent_expiry ON spent (expires_at);

-- Devices that wait for somebody to let them in (RFC 8628). Of the device's own
-- code there is a hash.
CREATE TABLE device_codes (
    hash       bytea  NOT NULL PRIMARY KEY,
    user_code  text   COLLATE "C" NOT NULL UNIQUE,
    tenant     text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    client     text   COLLATE "C" NOT NULL,
    scope      text   COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    polled_at  bigint NOT NULL,
    waits      bigint NOT NULL, -- seconds between two questions of the device
    answer     text   COLLATE "C" NOT NULL, -- '', 'approved', 'denied', 'redeemed'
    session    bytea  NOT NULL -- empty: none yet
);

CREATE INDEX device_codes_expiry ON device_codes (expires_at);

-- scope is what a session has of its client's scopes, '' for all of them;
-- confirm is the key that its tokens are bound to, '' for none. active_day is
-- counted in days since 1970; 0 is not known.
ALTER TABLE sessions ADD COLUMN scope      text   COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN confirm    text   COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN active_day bigint NOT NULL DEFAULT 0;

-- For lists by last activity: entries of one day are in the order of seq. A
-- rotation moves a row in them once a day.
CREATE INDEX sessions_active        ON sessions (active_day, seq);
CREATE INDEX sessions_tenant_active ON sessions (tenant, active_day, seq);
