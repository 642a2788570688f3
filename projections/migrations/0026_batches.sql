-- What was to be run on which servers, by whom?

CREATE TABLE batches (
    batch_id      text PRIMARY KEY,
    tenant        text NOT NULL,
    owner         text NOT NULL,
    command       text NOT NULL,
    timeout_ms    bigint NOT NULL,
    idempotent    boolean NOT NULL,
    concurrency   bigint NOT NULL,
    servers       bigint NOT NULL,
    cancelled_at  timestamptz,
    created_at    timestamptz NOT NULL,
    created_seq   bigint NOT NULL,
    seq           bigint NOT NULL
);
CREATE UNIQUE INDEX batches_created_seq ON batches (created_seq);
CREATE INDEX batches_tenant ON batches (tenant, created_seq);
