-- How far the database has come, for whoever remembers it elsewhere: one row
-- that is this database's own, and one for each whose place it took.
CREATE TABLE marks (
    incarnation text    COLLATE "C" NOT NULL PRIMARY KEY,
    own         boolean NOT NULL,
    n           bigint  NOT NULL, -- only grows
    at          bigint  NOT NULL
) WITH (fillfactor = 10);

INSERT INTO marks (incarnation, own, n, at) VALUES (replace(gen_random_uuid()::text, '-', ''), true, 1, 0);

-- Until when sessions of a restored database may catch up, and the epoch that
-- new ones and those that did have. All 0: nobody may.
CREATE TABLE adoption (
    one   integer NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch bigint  NOT NULL,
    since bigint  NOT NULL,
    until bigint  NOT NULL
);

INSERT INTO adoption (one, epoch, since, until) VALUES (1, 0, 0, 0);
