-- Which environments are there, and how are they?

CREATE TABLE environments (
    env_id        text PRIMARY KEY,
    tenant        text NOT NULL,
    owner         text NOT NULL,
    name          text NOT NULL,
    status        text NOT NULL,
    phase         text,
    code          text,
    reason        text,
    image         text NOT NULL,
    -- Thousandths of a core.
    cpu_milli     bigint NOT NULL,
    -- Thousandths of a GiB.
    memory_milli  bigint NOT NULL,
    gpu           bigint NOT NULL,
    -- Thousandths of a GiB.
    storage_milli bigint NOT NULL,
    jupyter       boolean NOT NULL,
    ssh_port      integer,
    jupyter_port  integer,
    allow_list    text[] NOT NULL,
    ttl_s         numeric(20, 0),
    expires_at    timestamptz,
    deadline      timestamptz,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    created_seq   bigint NOT NULL,
    seq           bigint NOT NULL
);
CREATE UNIQUE INDEX environments_created_seq ON environments (created_seq);
CREATE INDEX environments_tenant ON environments (tenant, created_seq);
