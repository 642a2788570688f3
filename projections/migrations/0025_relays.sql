-- Which relays are there, and is each connected?

CREATE TABLE relays (
    relay_id      text PRIMARY KEY,
    tenant        text NOT NULL,
    name          text NOT NULL,
    zone          text,
    settings      jsonb NOT NULL,
    revoked       boolean NOT NULL,
    -- Counts its connections.
    epoch         bigint NOT NULL,
    connected     boolean NOT NULL,
    hub           text,
    address       inet,
    client        text,
    -- Its newest connection began, or ended, then.
    changed_at    timestamptz,
    -- Why the newest connection ended.
    reason        text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    created_seq   bigint NOT NULL,
    seq           bigint NOT NULL
);
CREATE UNIQUE INDEX relays_created_seq ON relays (created_seq);
CREATE INDEX relays_tenant ON relays (tenant, created_seq);
