-- What is to be run when, in whose name, and what became of each due time?

CREATE TABLE schedules (
    schedule_id   text PRIMARY KEY,
    tenant        text NOT NULL,
    owner         text NOT NULL,
    -- As it is on record: what, when, by whose rights.
    settings      jsonb NOT NULL,
    paused        boolean NOT NULL,
    removed       boolean NOT NULL,
    -- Every time up to then is on record, or does not count.
    covered       timestamptz NOT NULL,
    -- The first time that is not; whoever sweeps looks here.
    next_due      timestamptz,
    -- What began last.
    batch_id      text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    created_seq   bigint NOT NULL,
    seq           bigint NOT NULL
);
CREATE UNIQUE INDEX schedules_created_seq ON schedules (created_seq);
CREATE INDEX schedules_tenant ON schedules (tenant, created_seq);
CREATE INDEX schedules_next_due ON schedules (next_due) WHERE next_due IS NOT NULL;

CREATE TABLE schedule_runs (
    seq           bigint PRIMARY KEY,
    schedule_id   text NOT NULL,
    -- The due time, or the first of those that were skipped together.
    due_at        timestamptz NOT NULL,
    last_due_at   timestamptz NOT NULL,
    count         bigint NOT NULL,
    -- What was begun; absent where it was skipped.
    batch_id      text,
    servers       bigint NOT NULL,
    left_out      bigint NOT NULL,
    why           text,
    reason        text,
    at            timestamptz NOT NULL
);
CREATE INDEX schedule_runs_schedule ON schedule_runs (schedule_id, seq);
