-- Keys of partners. A secret is kept as an HMAC under a key that is not here.
CREATE TABLE api_keys (
    id          text   COLLATE "C" NOT NULL PRIMARY KEY,
    tenant      text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id     text   COLLATE "C" NOT NULL,
    name        text   COLLATE "C" NOT NULL,
    kind        text   COLLATE "C" NOT NULL,
    hash        bytea  NOT NULL UNIQUE,
    old_hash    bytea  NOT NULL, -- empty: none
    old_until   bigint NOT NULL,
    routes      text   COLLATE "C" NOT NULL, -- JSON
    permissions text   COLLATE "C" NOT NULL, -- JSON
    created_at  bigint NOT NULL,
    expires_at  bigint NOT NULL, -- 0: never
    revoked_at  bigint NOT NULL, -- 0: not
    stopped_at  bigint NOT NULL, -- 0: not
    session     text   COLLATE "C" NOT NULL  -- '': none yet
);

CREATE INDEX api_keys_user ON api_keys (tenant, user_id);
