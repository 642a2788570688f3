-- Who may follow which events by NATS? Never the digests of passwords.

CREATE TABLE nats_taps (
    tap_id      text PRIMARY KEY,
    tenant      text NOT NULL,
    name        text NOT NULL,
    kinds       text[] NOT NULL,
    -- Who asked for it.
    issued_by   text NOT NULL,
    -- Its place on the server.
    consumer    text NOT NULL,
    revoked_at  timestamptz,
    created_at  timestamptz NOT NULL,
    created_seq bigint NOT NULL,
    seq         bigint NOT NULL
);
CREATE INDEX nats_taps_tenant ON nats_taps (tenant, created_seq);
