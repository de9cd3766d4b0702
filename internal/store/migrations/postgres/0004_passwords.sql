-- Hashes that a user had before, for "not one of your last ten". Of one user
-- n counts up and only the newest rows stay.
CREATE TABLE password_history (
    tenant  text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id text   COLLATE "C" NOT NULL,
    n       bigint NOT NULL,
    encoded text   COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, user_id, n)
);

-- Who may set a user's password once, without the old one: one row a user.
CREATE TABLE password_actions (
    tenant     text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id         text   COLLATE "C" NOT NULL,
    user_id    text   COLLATE "C" NOT NULL,
    secret     bytea  NOT NULL, -- SHA-256 of the token of a link, 32 zeros: no link
    expires_at bigint NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, user_id)
);

-- Wrong passwords in a row.
CREATE TABLE login_attempts (
    tenant  text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    user_id text   COLLATE "C" NOT NULL,
    n       bigint NOT NULL,
    at      bigint NOT NULL, -- of the last one
    PRIMARY KEY (tenant, user_id)
);

CREATE INDEX users_email ON users (tenant, lower(email)) WHERE email <> '';
