-- When is it stopped because nobody uses it, deleted because its time ends, and until when does a job run?

ALTER TABLE environments
    ADD COLUMN idle_s numeric(20, 0),
    ADD COLUMN job_until timestamptz,
    ADD COLUMN stops_at timestamptz,
    ADD COLUMN deletes_at timestamptz;
