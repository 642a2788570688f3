-- What became of each command on each server?

CREATE TABLE commands (
    command_id    text PRIMARY KEY,
    tenant        text NOT NULL,
    batch_id      text NOT NULL,
    server_id     text NOT NULL,
    -- Its place in the batch.
    place         bigint NOT NULL,
    owner         text NOT NULL,
    -- queued, dispatched, or its outcome.
    status        text NOT NULL,
    -- The relay that has or had it; null when it went directly.
    relay_id      text,
    -- Ways by which it went.
    attempts      bigint NOT NULL,
    exit_code     integer,
    stdout        bytea,
    stderr        bytea,
    -- Bytes in all, where not all are kept.
    stdout_total  bigint,
    stderr_total  bigint,
    -- Where more of it lies.
    stdout_stored jsonb,
    stderr_stored jsonb,
    class         text,
    reason        text,
    suggestion    text,
    -- What came after the outcome, or of an attempt that was given up.
    late          jsonb,
    requested_at  timestamptz NOT NULL,
    dispatched_at timestamptz,
    deadline      timestamptz,
    ended_at      timestamptz,
    seq           bigint NOT NULL
);
CREATE INDEX commands_batch ON commands (batch_id, place);
