-- What may a tenant have in use, and which environment holds which share of it?

CREATE TABLE quotas (
    tenant      text PRIMARY KEY,
    -- Null while the tenant is not registered.
    name        text,
    -- Null while no limit was ever set.
    limits      jsonb,
    created_seq bigint NOT NULL,
    seq         bigint NOT NULL
);

-- What is in use is the sum of these.
CREATE TABLE quota_claims (
    tenant        text NOT NULL,
    env_id        text NOT NULL,
    cpu_milli     bigint NOT NULL,
    memory_milli  bigint NOT NULL,
    gpu           bigint NOT NULL,
    storage_milli bigint NOT NULL,
    claimed_at    timestamptz NOT NULL,
    seq           bigint NOT NULL,
    PRIMARY KEY (tenant, env_id)
);
