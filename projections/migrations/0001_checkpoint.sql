-- How far is each projection, what could not be applied, and what is being built beside?

CREATE TABLE checkpoint (
    name    text PRIMARY KEY,
    -- The last sequence of the log whose change is in the rows.
    seq     bigint NOT NULL,
    -- The version of the code that fed the rows from the beginning.
    version integer NOT NULL,
    -- Fed in lockstep with the others; false until its first build is switched in.
    live    boolean NOT NULL,
    fed_at  timestamptz NOT NULL DEFAULT now()
);

-- Subjects that a projection (or a shadow of it) does not follow any more.
CREATE TABLE parked (
    -- Name of the projection, or of the shadow being built.
    lane    text NOT NULL,
    subject text NOT NULL,
    -- The event that could not be applied.
    seq     bigint NOT NULL,
    reason  text NOT NULL,
    -- Later events of the subject that were not applied.
    skipped bigint NOT NULL DEFAULT 0,
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, subject)
);

-- Messages of the log that are no event this release can read; every projection passes them.
CREATE TABLE unreadable (
    seq     bigint PRIMARY KEY,
    subject text NOT NULL,
    reason  text NOT NULL,
    at      timestamptz NOT NULL DEFAULT now()
);

-- What is asked for or being built beside the live rows, each in a PostgreSQL schema named like the lane.
CREATE TABLE shadow (
    lane         text PRIMARY KEY,
    projection   text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- Who builds it; another takes over when it was not touched for a while.
    owner        uuid,
    touched_at   timestamptz,
    -- Null until the first table of it exists.
    seq          bigint,
    version      integer,
    -- Why the last try ended early.
    trouble      text
);
