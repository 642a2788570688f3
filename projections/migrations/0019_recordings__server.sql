-- A terminal is recorded in an environment or on a server.
ALTER TABLE recordings ALTER COLUMN env_id DROP NOT NULL;
ALTER TABLE recordings ADD COLUMN server_id text;
CREATE INDEX recordings_server ON recordings (server_id, started_seq);
