-- Who was connected, from when to when, and how much went through?

CREATE TABLE sessions (
    session_id text PRIMARY KEY,
    env_id     text NOT NULL,
    tenant     text NOT NULL,
    ip         inet NOT NULL,
    username   text NOT NULL,
    entrance   text NOT NULL,
    method     text NOT NULL,
    opened_at  timestamptz NOT NULL,
    closed_at  timestamptz,
    -- Bytes from the person to the environment; a count of 64 bits without sign.
    bytes_in   numeric(20, 0),
    bytes_out  numeric(20, 0),
    reason     text,
    opened_seq bigint NOT NULL,
    seq        bigint NOT NULL
);
CREATE INDEX sessions_env ON sessions (env_id, opened_seq);
CREATE INDEX sessions_tenant ON sessions (tenant, opened_seq);
