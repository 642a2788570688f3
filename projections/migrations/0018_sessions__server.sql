-- A session takes place in an environment or on a server.
ALTER TABLE sessions ALTER COLUMN env_id DROP NOT NULL;
ALTER TABLE sessions ADD COLUMN server_id text;
CREATE INDEX sessions_server ON sessions (server_id, opened_seq);
