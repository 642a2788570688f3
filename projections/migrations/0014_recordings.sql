-- Which terminals were recorded, and how much of each is stored?

CREATE TABLE recordings (
    session_id  text NOT NULL,
    -- Terminals of a session are counted from 1.
    number      bigint NOT NULL,
    env_id      text NOT NULL,
    tenant      text NOT NULL,
    username    text NOT NULL,
    entrance    text NOT NULL,
    cols        bigint NOT NULL,
    rows        bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    -- Null while it goes on.
    ended_at    timestamptz,
    -- The recorder said how it ended; without that the session's end is the end, and it is incomplete.
    told        boolean NOT NULL DEFAULT false,
    complete    boolean NOT NULL DEFAULT false,
    -- Of the asciicast, as far as the log vouches for it.
    bytes       bigint NOT NULL DEFAULT 0,
    lost_bytes  bigint NOT NULL DEFAULT 0,
    sha256      text,
    started_seq bigint NOT NULL,
    seq         bigint NOT NULL,
    PRIMARY KEY (session_id, number)
);
CREATE INDEX recordings_env ON recordings (env_id, started_seq);
