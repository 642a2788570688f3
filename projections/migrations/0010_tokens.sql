-- Which API tokens were issued? Never their digests.

CREATE TABLE tokens (
    token_id    text PRIMARY KEY,
    name        text NOT NULL,
    tenant      text NOT NULL,
    role        text NOT NULL,
    owner       text NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz,
    created_at  timestamptz NOT NULL,
    created_seq bigint NOT NULL,
    seq         bigint NOT NULL
);
CREATE INDEX tokens_tenant ON tokens (tenant, created_seq);
