-- Which port led to which environment, from when to when?

CREATE TABLE port_mappings (
    allocated_seq bigint PRIMARY KEY,
    pool          text NOT NULL,
    port          integer NOT NULL,
    env_id        text NOT NULL,
    tenant        text NOT NULL,
    purpose       text NOT NULL,
    allocated_at  timestamptz NOT NULL,
    released_at   timestamptz,
    released_seq  bigint
);
-- No port leads to two environments.
CREATE UNIQUE INDEX port_mappings_held ON port_mappings (pool, port) WHERE released_seq IS NULL;
CREATE INDEX port_mappings_env ON port_mappings (env_id, allocated_seq);

-- The newest reason to leave a port alone.
CREATE TABLE port_blocks (
    pool       text NOT NULL,
    port       integer NOT NULL,
    reason     text NOT NULL,
    until      timestamptz NOT NULL,
    blocked_at timestamptz NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (pool, port)
);
