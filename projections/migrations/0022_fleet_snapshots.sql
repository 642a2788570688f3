-- What was the fleet at some instants? A cache: what is missing is folded from the log. Both may be emptied at any time.

-- Rows of one table of the fleet, as JSON, named by their SHA-256: snapshots share what did not change between them.
CREATE TABLE fleet_pages (
    name  bytea PRIMARY KEY,
    bytes bytea NOT NULL
);

CREATE TABLE fleet_snapshots (
    -- The last event of the log that it has.
    seq     bigint NOT NULL,
    -- Of what makes rows and writes them: another release's snapshot is none of ours.
    version text NOT NULL,
    -- Which pages it has, and what is parked.
    body    jsonb NOT NULL,
    pages   bytea[] NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (version, seq)
);
