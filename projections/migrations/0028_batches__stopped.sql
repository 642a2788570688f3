-- How much of a batch may go wrong, and when did too much?

ALTER TABLE batches ADD COLUMN stop_after_failures bigint, ADD COLUMN stopped_at timestamptz;
