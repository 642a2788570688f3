-- Which servers are there, how is each reached, and how did it go last?

CREATE TABLE servers (
    server_id     text PRIMARY KEY,
    tenant        text NOT NULL,
    -- From the settings, for filters.
    name          text NOT NULL,
    zone          text,
    groups        text[] NOT NULL,
    -- `key=value`
    labels        text[] NOT NULL,
    removed       boolean NOT NULL,
    -- Of the newest test of the settings as they are; null when there was none.
    ok            boolean,
    settings      jsonb NOT NULL,
    host_key      jsonb,
    host_key_seen jsonb,
    tested        jsonb,
    tested_at     timestamptz,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    created_seq   bigint NOT NULL,
    seq           bigint NOT NULL
);
CREATE UNIQUE INDEX servers_created_seq ON servers (created_seq);
CREATE INDEX servers_tenant ON servers (tenant, created_seq);
