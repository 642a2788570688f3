-- Which public keys does a person have now?

CREATE TABLE ssh_keys (
    key_id      text PRIMARY KEY,
    tenant      text NOT NULL,
    owner       text NOT NULL,
    name        text NOT NULL,
    public_key  text NOT NULL,
    fingerprint text NOT NULL,
    created_at  timestamptz NOT NULL,
    seq         bigint NOT NULL
);
CREATE INDEX ssh_keys_owner ON ssh_keys (tenant, owner, seq);
