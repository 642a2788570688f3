-- Which batches wait for a second person, and what was the answer?

ALTER TABLE batches
    -- Until when, and why; null where nobody had to be asked.
    ADD COLUMN approval jsonb,
    ADD COLUMN awaiting boolean NOT NULL DEFAULT false,
    -- approved, rejected or expired; by nobody when it expired.
    ADD COLUMN answer text,
    ADD COLUMN answered_by text,
    ADD COLUMN answered_at timestamptz,
    ADD COLUMN answer_reason text;
CREATE INDEX batches_awaiting ON batches (created_seq) WHERE awaiting;
