-- Who may log in to the control plane?

CREATE TABLE users (
    username    text PRIMARY KEY,
    tenant      text NOT NULL,
    role        text NOT NULL,
    disabled    boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    created_seq bigint NOT NULL,
    seq         bigint NOT NULL
);
CREATE INDEX users_tenant ON users (tenant, created_seq);
