-- Timers of modules that a tenant has otherwise than the descriptor says.
CREATE TABLE timers (
    tenant text   COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id     text   COLLATE "C" NOT NULL, -- product and number
    unit   text   COLLATE "C" NOT NULL,
    delay  bigint NOT NULL, -- in units, 0 is off
    PRIMARY KEY (tenant, id)
);
