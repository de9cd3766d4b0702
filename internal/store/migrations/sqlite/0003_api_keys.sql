-- Keys of partners. A secret is kept as an HMAC under a key that is not here.
CREATE TABLE api_keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id     TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    hash        BLOB    NOT NULL UNIQUE,
    old_hash    BLOB    NOT NULL, -- empty: none
    old_until   INTEGER NOT NULL,
    routes      TEXT    NOT NULL, -- JSON
    permissions TEXT    NOT NULL, -- JSON
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL, -- 0: never
    revoked_at  INTEGER NOT NULL, -- 0: not
    stopped_at  INTEGER NOT NULL, -- 0: not
    session     TEXT    NOT NULL  -- '': none yet
) STRICT;

CREATE INDEX api_keys_user ON api_keys (tenant, user_id);
